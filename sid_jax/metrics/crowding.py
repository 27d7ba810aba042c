"""Detects too few code tuples for the number of items, and estimates how many levels or codes are needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# If the number of distinct code tuples per distinct vector is below this, there are too few codes. The report then
# grades the IDs as weak (docs/report.md).
CROWDED = 0.75
# Items are not spread evenly over the code tuples. If the number of tuples is multiplied by M, collisions are therefore
# assumed to fall as if there were M ** _POWER times as many evenly used tuples. The powers measured on Amazon Beauty
# are 0.15 to 0.48 for one more level, and 0.34 for 8 times as many codes in each of 3 levels.
_POWER = 0.25
# Threshold for the number of a level's codes in use, divided by the expected number in use with random codes. Below the
# threshold, the model did not learn to use its codes, for example in a short run. A longer run may then make more
# tuples distinct.
_IN_USE = 0.9
# `_MOST_CODES` is the maximum number of codes per level. `_ITEMS_A_CODE` is the minimum number of items per code that
# is needed to learn a codeword.
_MOST_CODES, _ITEMS_A_CODE = 65_536, 8


def is_crowded(metrics: Mapping[str, Any]) -> bool:
    """Returns whether there are too few code tuples for the items, from the metrics of `code_figures`."""
    return _own_share(metrics) < CROWDED


def remedy(metrics: Mapping[str, Any], sizes: Sequence[int], section: str = "config") -> str:
    """Returns flags that set the estimated number of levels or codes needed.

    Args:
      metrics: metrics of `code_figures`, and `num_items`.
      sizes: K of each of the current levels.
      section: prefix of the quantizer's settings on the command line, "config" or "config.quantizer".
    """
    relief = _load(_own_share(metrics)) / _load(CROWDED)
    levels = max(1, math.ceil(math.log(max(relief, 1)) / (_POWER * math.log(max(sizes[-1], 2)))))
    more_levels = f"--{section}.model.num_levels={len(sizes) + levels}"
    codes = 2 ** math.ceil(math.log2(max(sizes) * max(relief, 2) ** (1 / _POWER / len(sizes))))
    if codes > min(_MOST_CODES, metrics["num_items"] / _ITEMS_A_CODE):
        return more_levels
    return f"{more_levels} or --{section}.model.codebook_size={codes}"


def crowding_line(metrics: Mapping[str, Any], moved: float = 0.0, *, nested: bool = False) -> str | None:
    """Returns a warning that a catalog's items have too few distinct code tuples; None if there are enough.

    If many codes are dead, the remedy is a longer run, otherwise more levels or codes.

    Args:
      metrics: metrics of a training run or an export.
      moved: the share of items whose Semantic ID differs from the codes that the model assigned.
      nested: whether the quantizer is trained by `sid-jax recommend`, where its settings have other names.
    """
    if not is_crowded(metrics):
        return None
    crowd = f"{metrics['collision_share']:.1%} of the items share their codes with other items"
    if moved:
        crowd += f", and {moved:.1%} of the items got IDs that differ from their codes and describe the items less well"
    section = "config.quantizer" if nested else "config"
    if _has_unused_codes(metrics):
        return (
            f"{crowd}: only {min(metrics['usage']):.1%} of a level's codes are in use. Train longer "
            f"(--{section}.train.num_epochs, or a preset without quick) before you add levels or codes"
        )
    return (
        f"{crowd}: there are too few codes for {metrics['num_items']:,} items. Train, for example, with "
        f"{remedy(metrics, metrics['codebook_size'], section)}; training again with the same settings will not help"
    )


def _has_unused_codes(metrics: Mapping[str, Any]) -> bool:
    """Returns whether many codes are dead, and using all codes would give enough tuples for the items."""
    sizes, vectors = metrics["codebook_size"], metrics["num_items"] * metrics.get("max_distinct_rate", 1.0)
    random = [1 - math.exp(-vectors / size) for size in sizes]
    unused = any(used < _IN_USE * most for used, most in zip(metrics["usage"], random, strict=True))
    return unused and math.prod(sizes) > vectors


def _own_share(metrics: Mapping[str, Any]) -> float:
    return metrics["distinct_rate"] / metrics.get("max_distinct_rate", 1.0)


def _load(share: float) -> float:
    """Returns the number of items per tuple at which random codes have `share` distinct tuples per item.

    N items assigned at random to M tuples have M (1 - exp(-N / M)) distinct tuples in expectation.
    """
    low, high = 1e-6, 1 / max(share, 1e-6)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if -math.expm1(-middle) / middle > share else (low, middle)
    return high
