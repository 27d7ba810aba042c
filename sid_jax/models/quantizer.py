"""The Flax NNX module that holds the codebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sid_jax.quantize.codebooks import basis_of, transform_basis
from sid_jax.quantize.nearest import assign_codes, sum_codewords
from sid_jax.quantize.product import only_parts
from sid_jax.quantize.residual import QuantizationMethod, QuantizerOutput, residual_quantize


class Statistic(nnx.Variable):
    """A variable that is fitted and saved but not optimized, such as the scaling and the flag "initialized"."""


class ResidualQuantizer(nnx.Module):
    """L codebooks for latent vectors of Z features; `sid_jax.quantize` has the computations.

    Args:
      codebook_sizes: K of each level; L is the number of sizes.
      latent_dimension: Z.
      method: training method. With "simvq", a codebook is a fixed basis times a trained linear map. With "ema", each
        code has a moving average of its count. The count is the number of residuals in a batch that get the code.
      product: whether each level quantizes its own subvector of the latent vector (`quantize.product.parts_of`), so
        that the module is a product quantizer.
      rngs: random number generators of the codewords, which are standard normal until k-means replaces them.

    Attributes:
      levels: the L codebooks, `nnx.Param` of `[K, Z]` float32; with "simvq", their bases. In a product quantizer, a
        level uses only the features of its own subvector.
      transforms: with "simvq", the L maps, `nnx.Param` of `[Z, Z]`, initialized as the identity.
      counts: with "ema", the moving averages of the counts, L arrays `[K]`.
      initialized: whether the codebooks have been set by `set_codebooks`; saved in checkpoints.
    """

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        latent_dimension: int,
        *,
        method: QuantizationMethod = "ste",
        product: bool = False,
        rngs: nnx.Rngs,
    ):
        self.levels = nnx.List(
            nnx.Param(jax.random.normal(rngs.params(), (size, latent_dimension))) for size in codebook_sizes
        )
        self.method, self.product = method, product
        transformed = codebook_sizes if method == "simvq" else ()
        self.transforms = nnx.List(nnx.Param(jnp.eye(latent_dimension)) for _ in transformed)
        counted = codebook_sizes if method == "ema" else ()
        self.counts = nnx.List(Statistic(jnp.ones(size)) for size in counted)
        self.initialized = Statistic(jnp.array(False))

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """K of each level."""
        return tuple(level.shape[0] for level in self.levels)

    @property
    def codebooks(self) -> tuple[jax.Array, ...]:
        """The L codebooks, `[K, Z]` each."""
        if self.method == "simvq":
            pairs = zip(self.levels, self.transforms, strict=True)
            return tuple(transform_basis(level[...], transform[...]) for level, transform in pairs)
        codebooks = tuple(level[...] for level in self.levels)
        return only_parts(codebooks) if self.product else codebooks

    def set_codebooks(self, codebooks: Sequence[jax.Array]) -> None:
        """Sets the L codebooks to arrays of the same shapes, and marks them as initialized.

        Raises:
          ValueError: if an array's shape differs from that of its level's codebook.
        """
        for number, (level, codebook) in enumerate(zip(self.levels, codebooks, strict=True)):
            if level.shape != codebook.shape:
                raise ValueError(f"codebook {number} has shape {codebook.shape}, but the level needs {level.shape}")
            transforms = self.transforms
            level[...] = basis_of(codebook, transforms[number][...]) if transforms else jnp.asarray(codebook)
        self.initialized[...] = jnp.array(True)

    def renumber(self, orders: Sequence[np.ndarray]) -> None:
        """Renumbers each level's codes by its order `[K]`: code k gets the codeword of the former code `order[k]`."""
        for level, order in zip(self.levels, orders, strict=True):
            level[...] = level[...][order]
        for count, order in zip(self.counts, orders, strict=False):
            count[...] = count[...][order]

    def assign(self, latents: jax.Array) -> jax.Array:
        """Returns the codes `[..., L]` int32 of latent vectors `[..., Z]`."""
        return assign_codes(latents, self.codebooks)

    def lookup(self, codes: jax.Array) -> jax.Array:
        """Returns the quantized latent vectors `[..., Z]` of codes `[..., L]`."""
        return sum_codewords(codes, self.codebooks)

    def __call__(self, latents: jax.Array, **choices: Any) -> QuantizerOutput:
        """Quantizes latent vectors `[..., Z]`; `choices` are arguments of `quantize.residual.residual_quantize`."""
        return residual_quantize(latents, self.codebooks, method=self.method, **choices)
