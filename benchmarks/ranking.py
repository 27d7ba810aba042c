"""Trains rankers whose item features are Semantic IDs, random hashes, item ids or vectors, and compares them.

python benchmarks/ranking.py --config=benchmarks/ranking_study/ml100k.py --workdir=runs/ranking

The task is to predict likes on MovieLens-100K, for movies with training ratings and for cold movies. A workdir that
contains some of the runs is resumed.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags
from ml_collections import config_flags
from ranking_study.config import SETTINGS

from sid_jax import command

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A config file, optionally with an argument after a colon; --config.name=value changes a setting."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the runs; existing runs are resumed.", required=True)
flags.mark_flag_as_required("config")


def main() -> None:
    """Runs the study with the settings of the flags."""
    from ranking_study.run import run

    run(_CONFIG.value, Path(_WORKDIR.value))


if __name__ == "__main__":
    command.run(main, __doc__, SETTINGS)
