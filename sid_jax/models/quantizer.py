"""The module that holds the codebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.models.statistic import Statistic
from sid_jax.quantize.nearest import assign_codes, sum_codewords
from sid_jax.quantize.residual import QuantizerOutput, residual_quantize


class ResidualQuantizer(nnx.Module):
    """L codebooks over latent vectors of Z features. The mathematics is in `sid_jax.quantize`.

    Args:
      codebook_sizes: K of each level; L is their number.
      latent_dimension: Z.
      rngs: for the codewords, standard normal until k-means replaces them.

    Attributes:
      levels: the L codebooks, `nnx.Param` of `[K, Z]` float32.
      initialised: whether k-means (or a dump) has filled them; a checkpoint carries it.
    """

    def __init__(self, codebook_sizes: Sequence[int], latent_dimension: int, *, rngs: nnx.Rngs):
        self.levels = nnx.List(
            nnx.Param(jax.random.normal(rngs.params(), (size, latent_dimension))) for size in codebook_sizes
        )
        self.initialised = Statistic(jnp.array(False))

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """K of each level."""
        return tuple(level.shape[0] for level in self.levels)

    @property
    def codebooks(self) -> tuple[jax.Array, ...]:
        """The L codebooks, `[K, Z]` each."""
        return tuple(level[...] for level in self.levels)

    def set_codebooks(self, codebooks: Sequence[jax.Array]) -> None:
        """Fills the L codebooks with arrays of the same shapes, and marks them as initialised.

        Raises:
          ValueError: if a shape is not the level's.
        """
        for number, (level, codebook) in enumerate(zip(self.levels, codebooks, strict=True)):
            if level.shape != codebook.shape:
                raise ValueError(f"codebook {number} is {codebook.shape}; the level's is {level.shape}")
            level[...] = codebook
        self.initialised[...] = jnp.array(True)

    def assign(self, latents: jax.Array) -> jax.Array:
        """Returns the codes `[..., L]` int32 of latent vectors `[..., Z]`."""
        return assign_codes(latents, self.codebooks)

    def lookup(self, codes: jax.Array) -> jax.Array:
        """Returns the quantized latent vectors `[..., Z]` of codes `[..., L]`."""
        return sum_codewords(codes, self.codebooks)

    def __call__(self, latents: jax.Array, **choices: Any) -> QuantizerOutput:
        """Quantizes latent vectors `[..., Z]`; the choices are those of `quantize.residual.residual_quantize`."""
        return residual_quantize(latents, self.codebooks, **choices)
