"""The ID table anew, and what became of it: who changed, and whether all codes are in use."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from sid_jax.metrics.codes import distinct_rate, usage

# Below this a person is told.
_GOOD_USAGE = 0.95


@dataclasses.dataclass(frozen=True)
class Refreshed:
    """What a refreshment came to.

    Attributes:
      churn: the share of the items whose ID changed.
      churn_by_level: of those whose code of each level changed.
      usage: of each level the share of its codes that some item has.
      distinct_rate: distinct tuples / items.
    """

    churn: float
    churn_by_level: list[float]
    usage: list[float]
    distinct_rate: float

    @classmethod
    def between(cls, before: np.ndarray, after: np.ndarray, sizes: Sequence[int]) -> Refreshed:
        """Compares codes `[N, L]` before and after; `sizes` are K of each level."""
        changed = before != after
        return cls(
            churn=float(changed.any(axis=1).mean()),
            churn_by_level=changed.mean(axis=0).tolist(),
            usage=usage(after, sizes),
            distinct_rate=distinct_rate(after),
        )

    def record(self) -> dict[str, Any]:
        """Returns the figures by name, for the records."""
        return dataclasses.asdict(self)

    def line(self) -> str:
        """Returns what a person reads."""
        levels = " / ".join(f"{share:.1%}" for share in self.churn_by_level)
        used = "/".join(f"{share:.0%}" for share in self.usage)
        few = "  few codes are in use" if min(self.usage) < _GOOD_USAGE else ""
        return (
            f"IDs changed of {self.churn:.1%} of the items (by level {levels}); distinct {self.distinct_rate:.4f}, "
            f"codes in use {used}{few}"
        )

    def collapse(self, least: float, step: int) -> str:
        """Returns why training cannot go on, and what helps, where a level has lost its codes; else nothing."""
        for level, share in enumerate(self.usage, start=1):
            if share < least:
                return (
                    f"codes have collapsed: {share:.0%} of those of level {level} are in use at step {step}, less than "
                    f"config.joint.min_usage={least}; raise config.joint.anchor_weight or balance_weight, or lower "
                    "encoder_rate and codebook_rate, in a new --workdir"
                )
        return ""
