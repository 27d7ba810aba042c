"""Trains a generative recommender on Semantic IDs and tests it, or compares ID tables by it.

sid-jax recommend --config=recommend:ml100k --workdir=runs/recommend
sid-jax recommend --config=recommend:beauty --compare a/ids.parquet b/ids.parquet --minutes=10
sid-jax recommend --config=recommend:ml100k --draw_cold=100 --config.data.cold_items=cold.txt
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from sid_jax import command, presets
from sid_jax.errors import UserError
from sid_jax.recommend.config import SETTINGS

_CONFIG = command.config_flag(presets.RECOMMENDER)
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder; one that holds this run already is resumed.")
_COMPARE = flags.DEFINE_string("compare", None, "ID tables to compare, one after the other: files, folders, or kinds.")
_MINUTES = flags.DEFINE_float("minutes", 10.0, "With --compare: the longest that a table's training may take.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "With --compare: how often each table is trained with.")
_DRAW_COLD = flags.DEFINE_float(
    "draw_cold",
    None,
    "Draw items to be held out of all training, write them to config.data.cold_items, and stop: so many of those that "
    "are some user's last, or below 1 a share of them.",
)


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run_with_words(_main, __doc__, SETTINGS)


def _main(words: list[str]) -> None:
    """Does what the flags say."""
    if words and _COMPARE.value is None:
        raise UserError(f"{words[0]!r} is not a flag; a setting is --config.name=value")
    if _DRAW_COLD.value is not None:
        from sid_jax.recommend.data.cold_items import draw_cold_items

        number = draw_cold_items(_CONFIG.value, _DRAW_COLD.value)
        print(f"{number:,} items are in {_CONFIG.value.data.cold_items}")
        return
    if _WORKDIR.value is None:
        raise UserError("Flag --workdir must have a value: the run's folder")
    workdir = Path(_WORKDIR.value)
    if _COMPARE.value is None:
        from sid_jax.recommend.run import run

        run(_CONFIG.value, workdir)
        return
    from sid_jax.recommend.compare import compare

    compare(_CONFIG.value, [_COMPARE.value, *words], workdir, minutes=_MINUTES.value, num_seeds=_SEEDS.value)
