"""Writes the Semantic IDs and the codebooks of a trained run.

python export.py --workdir=runs/ml100k --out=exports/ml100k

Of the items in --input, where it is given, and else of those that the run was trained on:

python export.py --workdir=runs/items --input='new/*.parquet' --out=exports/new
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from sid_jax import command
from sid_jax.config import default_config
from sid_jax.ids.unique import SCHEMES
from sid_jax.settings import field_names

if TYPE_CHECKING:
    from sid_jax.bulk.engine import Engine

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
_ENGINE = flags.DEFINE_enum(
    "engine", "local", ["local", "ray"], "--input: who encodes, this machine or the workers of a Ray cluster."
)
_WORKERS = flags.DEFINE_integer("workers", 2, "--engine=ray: how many pieces are done at a time.", lower_bound=1)
_CPUS = flags.DEFINE_float("cpus", 1.0, "--engine=ray: CPU cores of a worker.", lower_bound=0.0)
_GPUS = flags.DEFINE_float("gpus", 0.0, "--engine=ray: GPUs of a worker.", lower_bound=0.0)


def main() -> None:
    """Exports what the flags name."""
    workdir, out, step, unique = Path(_WORKDIR.value), Path(_OUT.value), _STEP.value, _UNIQUE.value
    if _INPUT.value:
        from sid_jax.bulk.run import export_files

        ids_paths, engine = _INPUT_IDS.value, _engine()
        export_files(workdir, out, _INPUT.value, ids_paths=ids_paths, step=step, unique=unique, engine=engine)
    else:
        from sid_jax.export.run import export

        export(workdir, out, step=step, unique=unique)


def _engine() -> "Engine":
    from sid_jax.bulk.engine import LocalEngine
    from sid_jax.bulk.ray_engine import RayEngine

    return LocalEngine() if _ENGINE.value == "local" else RayEngine(_WORKERS.value, cpus=_CPUS.value, gpus=_GPUS.value)


if __name__ == "__main__":
    command.run(main, field_names(default_config()))
