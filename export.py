"""Writes the Semantic IDs and the codebooks of a trained run.

python export.py --workdir=runs/ml100k --out=exports/ml100k

Of the items in --input, where it is given, and else of those that the run was trained on:

python export.py --workdir=runs/items --input='new/*.parquet' --out=exports/new
"""

from pathlib import Path

from absl import flags

from sid_jax import command
from sid_jax.config import default_config
from sid_jax.ids.unique import SCHEMES
from sid_jax.settings import field_names

_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder.", required=True)
_OUT = flags.DEFINE_string("out", None, "The export's folder; it must not exist yet, or be empty.", required=True)
_STEP = flags.DEFINE_integer("step", None, "The checkpoint's step; by default the best one of a finished run.")
_UNIQUE = flags.DEFINE_enum(
    "unique",
    None,
    SCHEMES,
    "How IDs are made unique; by default as the run's config.ids.unique says.",
)
_INPUT = flags.DEFINE_multi_string(
    "input",
    [],
    "Vectors to encode instead of the run's own: a .npy or .parquet file, a folder of them, or a pattern; of any "
    "length, and may be given several times.",
)
_INPUT_IDS = flags.DEFINE_multi_string(
    "input_ids", [], "For each .npy file of --input a text file with one id a line; without, ids are row numbers."
)


def main() -> None:
    """Exports what the flags name."""
    run = {"step": _STEP.value, "unique": _UNIQUE.value}
    if _INPUT.value:
        from sid_jax.bulk.run import export_files

        export_files(Path(_WORKDIR.value), Path(_OUT.value), _INPUT.value, ids_paths=_INPUT_IDS.value, **run)
    else:
        from sid_jax.export.run import export

        export(Path(_WORKDIR.value), Path(_OUT.value), **run)


if __name__ == "__main__":
    command.run(main, field_names(default_config()))
