"""The ID table made anew while the quantizer learns: what became of it, and codes out of use that begin anew."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from sid_jax.metrics.codes import distinct_rate, usage
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.codebooks import count_codes, revive_codewords
from sid_jax.quantize.losses import squared_error
from sid_jax.recommend.joint.step import JointRecipe
from sid_jax.training.optimizer import reset_moments

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


@functools.partial(jax.jit, static_argnames="recipe")
def revive_unused(
    recipe: JointRecipe,
    params: nnx.State,
    statistics: nnx.State,
    opt_state: optax.OptState,
    vectors: jax.Array,
    codes: jax.Array,
    key: jax.Array,
) -> tuple[nnx.State, optax.OptState]:
    """Puts the codewords of unused codes where items are badly served, and forgets what the optimizer knew of them.

    As training does (`sid_jax.training.optimizer`), but of codes that none of all items has.

    Args:
      recipe: its `quantizer` and `optimizer`.
      params, statistics: of the RQ-VAE.
      opt_state: of its parameters' optimizer.
      vectors: `[N, D]`, all items.
      codes: `[N, L]` int32, theirs.
      key: PRNG key of the draw.
    """
    model: RQVAE = nnx.merge(recipe.quantizer, params, statistics)
    residuals = model.encode(vectors)
    levels = model.quantizer.levels
    counts = count_codes(codes, model.quantizer.codebook_sizes)
    forget: Any = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[:1] + (1,) * (leaf.ndim - 1), bool), params)
    for level, level_key in enumerate(jax.random.split(key, len(counts))):
        codebook, dead = levels[level][...], counts[level] == 0
        left = residuals - codebook[codes[:, level]]
        errors = squared_error(left, jnp.zeros_like(left))
        levels[level][...] = revive_codewords(level_key, codebook, dead, residuals, errors)
        forget["quantizer"]["levels"][level][...] = dead[:, None]
        residuals = left
    params = nnx.state(model, nnx.Param)
    return params, reset_moments(recipe.optimizer, opt_state, params, forget)
