"""Writes the Semantic IDs and the codebooks of a trained run.

python export.py --workdir=runs/ml100k --out=exports/ml100k
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


def main() -> None:
    """Exports the run that the flags name."""
    from sid_jax.export.run import export

    export(Path(_WORKDIR.value), Path(_OUT.value), step=_STEP.value, unique=_UNIQUE.value)


if __name__ == "__main__":
    command.run(main, field_names(default_config()))
