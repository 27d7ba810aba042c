"""Tracks IDs during joint training: the share of items with changed codes, and the share of codes in use."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from sid_jax.metrics.codes import distinct_rate, usage

# If the usage of a level is below this share, the printed line says that some codes are dead.
_GOOD_USAGE = 0.95


@dataclasses.dataclass(frozen=True)
class IdChanges:
    """Changes of the items' codes between two steps of a run, and the usage of the codebooks at the later step.

    Attributes:
      churn: the share of items whose ID changed.
      churn_by_level: for each level, the share of items whose code changed.
      usage: for each level, the share of the level's codes that at least one item has.
      distinct_rate: number of distinct code tuples divided by the number of items.
    """

    churn: float
    churn_by_level: list[float]
    usage: list[float]
    distinct_rate: float

    @classmethod
    def between(cls, before: np.ndarray, after: np.ndarray, sizes: Sequence[int]) -> IdChanges:
        """Compares codes `[N, L]` before and after; `sizes` has K of each level."""
        changed = before != after
        return cls(
            churn=float(changed.any(axis=1).mean()),
            churn_by_level=changed.mean(axis=0).tolist(),
            usage=usage(after, sizes),
            distinct_rate=distinct_rate(after),
        )

    def record(self) -> dict[str, Any]:
        """Returns the metrics by name, for the records of the run."""
        return dataclasses.asdict(self)

    def line(self) -> str:
        """Returns the metrics as one line of text, which the run prints."""
        levels = " / ".join(f"{share:.1%}" for share in self.churn_by_level)
        used = "/".join(f"{share:.0%}" for share in self.usage)
        few = "; some codes are dead" if min(self.usage) < _GOOD_USAGE else ""
        return (
            f"IDs of {self.churn:.1%} of the items changed (by level {levels}); distinct rate "
            f"{self.distinct_rate:.4f}, codes in use {used}{few}"
        )
