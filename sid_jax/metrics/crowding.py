"""Whether a table of codes is too small for its items, and how much larger a model's would have to be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Distinct tuples of codes for each distinct vector, below which a table is called crowded; weak by docs/report.md.
CROWDED = 0.75
# So many times as many tuples relieve a table only as if it had this power of it, since items are not spread evenly. On
# Amazon Beauty the power was 0.15 to 0.48 for a level more, and 0.34 for 8 times as many codes in each of 3 levels.
_POWER = 0.25
# Of a level's codes; and items that there are at least for each, so that it can be learned.
_MOST_CODES, _ITEMS_A_CODE = 65_536, 8


def is_crowded(metrics: Mapping[str, Any]) -> bool:
    """Whether codes are too few to tell the items apart, by the figures of `sid_jax.metrics.codes.code_figures`."""
    return _own_share(metrics) < CROWDED


def remedy(metrics: Mapping[str, Any], sizes: Sequence[int]) -> str:
    """Returns which settings would have codes, of levels of K `sizes` now, tell the items apart, by an estimate."""
    relief = _load(_own_share(metrics)) / _load(CROWDED)
    levels = max(1, math.ceil(math.log(max(relief, 1)) / (_POWER * math.log(max(sizes[-1], 2)))))
    more_levels = f"--config.model.num_levels={len(sizes) + levels}"
    codes = 2 ** math.ceil(math.log2(max(sizes) * max(relief, 2) ** (1 / _POWER / len(sizes))))
    if codes > min(_MOST_CODES, metrics["num_items"] / _ITEMS_A_CODE):
        return more_levels
    return f"{more_levels} or --config.model.codebook_size={codes}"


def crowding_line(metrics: Mapping[str, Any], moved: float = 0.0) -> str | None:
    """Returns a warning that the codes of a catalog cannot tell its items apart; None if they can.

    Args:
      metrics: of a training or an export.
      moved: the share of the items whose Semantic ID is not the codes that the model gave.
    """
    if not is_crowded(metrics):
        return None
    others = f", and {moved:.1%} got other codes than their own, which say less of them" if moved else ""
    return (
        f"Warning: {metrics['collision_share']:.1%} of the items have codes that others have too{others}: there are "
        f"too few codes for {metrics['num_items']:,} items. Train with about "
        f"{remedy(metrics, metrics['codebook_size'])}; the same settings again will not help"
    )


def _own_share(metrics: Mapping[str, Any]) -> float:
    return metrics["distinct_rate"] / metrics.get("max_distinct_rate", 1.0)


def _load(share: float) -> float:
    """Returns how many items a tuple there are, if so large a share of the items has distinct ones by chance.

    N items at random over M tuples have M (1 - exp(-N / M)) distinct ones.
    """
    low, high = 1e-6, 1 / max(share, 1e-6)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if -math.expm1(-middle) / middle > share else (low, middle)
    return high
