"""Trains rankers with Semantic IDs as features, and tests them beside random hashing, item IDs and vectors.

python -m sid_jax.recommend.ranking --config=configs/ranking.py:ml100k --workdir=runs/ranking
"""

from __future__ import annotations

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sid_jax import command
from sid_jax.recommend.ranking.config import default_config
from sid_jax.settings import field_names

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file in configs/, with its argument after a colon; --config.name=value sets a field."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The folder; one that holds these runs already is gone on with.", required=True
)
flags.mark_flag_as_required("config")


def main() -> None:
    """Does what the flags say."""
    from sid_jax.recommend.ranking.run import run

    run(_CONFIG.value, Path(_WORKDIR.value))


if __name__ == "__main__":
    command.run(main, field_names(default_config()))
