"""Trains and tests a recommender on Semantic IDs, or compares ID tables by the recommender's metrics.

Examples:
  sid-jax recommend --config=recommend:ml100k --workdir=runs/recommend
  sid-jax recommend --config=recommend:beauty --compare a/ids.parquet b/ids.parquet --minutes=10 --workdir=runs/ab
  sid-jax recommend --config=recommend:ml100k --draw_cold=100 --config.data.cold_items=cold.txt

Training in several processes needs existing IDs (config.ids): run the same command in each; see sid-jax train --help.
"""

from __future__ import annotations

from typing import Any

from absl import flags

from sid_jax import command, presets
from sid_jax.buckets.mirror import workdir_of
from sid_jax.cli import processes
from sid_jax.errors import UserError
from sid_jax.recommend.config import SETTINGS
from sid_jax.signals import training_stopped

_CONFIG = command.config_flag(presets.RECOMMENDER)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run. An existing run is resumed.")
_COMPARE = flags.DEFINE_string(
    "compare", None, "Compare ID tables: files, exports, or values of config.ids, separated by spaces."
)
_MINUTES = flags.DEFINE_float("minutes", 10.0, "With --compare: maximum minutes per training run.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "With --compare: number of runs per table, with different seeds.")
_DRAW_COLD = flags.DEFINE_float(
    "draw_cold",
    None,
    "Draw this number of cold items from the users' last items (below 1: this share of the last items), write their "
    "ids to the file config.data.cold_items, and exit.",
)


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run_with_words(_main, __doc__, SETTINGS)


def _main(words: list[str]) -> None:
    if words and _COMPARE.value is None:
        raise UserError(f"{words[0]!r} is not a flag; write a setting as --config.NAME=VALUE")
    if _DRAW_COLD.value is not None:
        from sid_jax.recommend.data.split import draw_cold_items

        number = draw_cold_items(_CONFIG.value, _DRAW_COLD.value)
        print(f"{number:,} cold items are in {_CONFIG.value.data.cold_items}")
        return
    if _WORKDIR.value is None:
        raise UserError("--workdir is missing; set it to the folder of the run")
    processes.join()
    results: list[Any] = []
    with workdir_of(processes.shared(_WORKDIR.value)) as workdir:
        if _COMPARE.value is None:
            from sid_jax.recommend.run import run

            results = run(_CONFIG.value, workdir)
        else:
            from sid_jax.recommend.compare import compare

            tables = [_COMPARE.value, *words]
            results = compare(_CONFIG.value, tables, workdir, minutes=_MINUTES.value, num_seeds=_SEEDS.value)
    if not results:
        raise training_stopped()
