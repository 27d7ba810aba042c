"""The residual-quantized autoencoder: scaling, encoder, quantizer, decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.data.layout import Layout
from sid_jax.data.scaling import Scaling, apply_scaling, invert_scaling, normalize, present_parts
from sid_jax.models.frozen import with_gradient_unless
from sid_jax.models.mlp import MLP, apply_linear, matmul
from sid_jax.models.quantizer import ResidualQuantizer, Statistic
from sid_jax.quantize.residual import QuantizationMethod, QuantizerOutput


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RQVAEOutput:
    """Output of a training forward pass.

    Attributes:
      targets: `[..., D]`, the scaled input, the decoder's target.
      reconstructions: `[..., D]`, the decoder's output, in the space of the targets.
      quantizer: the quantizer's codes, quantized vectors, soft assignments and losses.
      present: `[..., D]` bool, True for the features of parts that the item has; None for vectors without parts.
    """

    targets: jax.Array
    reconstructions: jax.Array
    quantizer: QuantizerOutput
    present: jax.Array | None = None


class RQVAE(nnx.Module):
    """Autoencoder that quantizes the latent vector to a sum of L codewords (Rajput et al., 2305.05065, section 3.1).

    Args:
      num_features: D, features of an input vector.
      codebook_sizes: K of each of the L levels.
      latent_dimension: Z; None for a model without encoder and decoder, which quantizes the scaled input.
      hidden_dimensions: widths of the encoder's hidden layers; the decoder has them in reverse order.
      activation: "silu", "relu" or "gelu".
      dropout: share of hidden activations dropped in training.
      shortcut: whether encoder and decoder have a linear map in parallel to their layers (see `MLP`).
      unit_norm: whether each input vector is scaled to length 1 first.
      collaborative_dimension: C, the number of features that `align` returns; None for a model that cannot align.
      quantization_method: training method of the quantizer (see `ResidualQuantizer`).
      layout: the parts of an input vector; None for vectors without parts.
      product: whether the model is an optimized product quantizer (`quantize.product`). Encoder and decoder are then a
        rotation and its inverse, fitted with the codebooks, and each level quantizes its own subvector of the
        rotated vector. `latent_dimension`, `hidden_dimensions` and `shortcut` are ignored.
      rngs: random number generators of the parameters.
    """

    def __init__(
        self,
        num_features: int,
        codebook_sizes: Sequence[int],
        *,
        latent_dimension: int | None = 32,
        hidden_dimensions: Sequence[int] = (512, 256, 128),
        activation: str = "silu",
        dropout: float = 0.0,
        shortcut: bool = False,
        unit_norm: bool = False,
        collaborative_dimension: int | None = None,
        quantization_method: QuantizationMethod = "ste",
        layout: Layout | None = None,
        product: bool = False,
        rngs: nnx.Rngs,
    ):
        dimensions = (num_features, *hidden_dimensions, latent_dimension) if latent_dimension else (num_features,)
        network: dict[str, Any] = {"activation": activation, "dropout": dropout, "shortcut": shortcut}
        if product:
            dimensions, network = (num_features, num_features), {"fitted": True}
        self.encoder = MLP(dimensions, **network, rngs=rngs)
        self.quantizer = ResidualQuantizer(
            codebook_sizes, dimensions[-1], method=quantization_method, product=product, rngs=rngs
        )
        self.decoder = MLP(dimensions[::-1], **network, rngs=rngs)
        self.aligner = nnx.data(
            nnx.Linear(dimensions[-1], collaborative_dimension, use_bias=False, rngs=rngs)
            if collaborative_dimension
            else None
        )
        self.unit_norm = unit_norm
        self.layout = layout
        self.mean = Statistic(jnp.zeros(num_features))
        self.scale = Statistic(jnp.ones(num_features))
        self.filler = nnx.data(Statistic(jnp.zeros((num_features, num_features))) if layout is not None else None)

    @property
    def scaling(self) -> Scaling:
        """The scaling of input vectors before the encoder."""
        return Scaling(self.unit_norm, self.mean[...], self.scale[...], self.layout)

    def set_scaling(self, scaling: Scaling) -> None:
        """Sets mean and scale from a fitted scaling, whose `unit_norm` and layout must be those of the model."""
        if scaling.unit_norm != self.unit_norm:
            raise ValueError(f"the scaling has unit_norm={scaling.unit_norm}, but the model has {self.unit_norm}")
        if scaling.layout != self.layout:
            raise ValueError(f"the scaling has {scaling.layout}, but the model has {self.layout}")
        self.mean[...] = jnp.asarray(scaling.mean)
        self.scale[...] = jnp.asarray(scaling.scale)

    def set_rotation(self, rotation: jax.Array) -> None:
        """Sets encoder and decoder of a product quantizer to a rotation `[D, D]` and its inverse."""
        for network, kernel in ((self.encoder, rotation), (self.decoder, rotation.T)):
            network.layers[0].kernel[...] = jnp.asarray(kernel)

    def encode(self, vectors: jax.Array) -> jax.Array:
        """Returns the latent vectors `[..., Z]` of unscaled input vectors `[..., D]`."""
        return self.encoder(self.inputs(vectors))

    def inputs(self, vectors: jax.Array) -> jax.Array:
        """Returns the encoder's inputs for vectors `[..., D]`: scaled, with missing parts filled in."""
        scaled = apply_scaling(self.scaling, vectors)
        return scaled if self.layout is None else self._filled(scaled, present_parts(self.layout, vectors))

    def _filled(self, scaled: jax.Array, seen: jax.Array) -> jax.Array:
        """Replaces each part that is False in `seen` `[..., P]` by a linear prediction from the parts that are True."""
        assert self.layout is not None and self.filler is not None
        there = seen[..., self.layout.part_of_feature]
        known = jnp.where(there, scaled, 0.0)
        return jnp.where(there, scaled, matmul(known, self.filler[...], jax.lax.Precision.HIGHEST))

    def assign(self, vectors: jax.Array) -> jax.Array:
        """Returns the codes `[..., L]` int32 of input vectors `[..., D]`."""
        return self.quantizer.assign(self.encode(vectors))

    def reconstruct(self, codes: jax.Array) -> jax.Array:
        """Returns the reconstructions `[..., D]` of codes `[..., L]`.

        They approximate the input vectors, or with `unit_norm` the input vectors scaled to length 1.
        """
        return self.decode(self.quantizer.lookup(codes))

    def decode(self, latents: jax.Array) -> jax.Array:
        """Returns the reconstructions `[..., D]` of latent vectors `[..., Z]`, scaled as in `reconstruct`."""
        return invert_scaling(self.scaling, self.decoder(latents))

    def compared(self, vectors: jax.Array, codes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns vectors and their reconstructions from codes `[..., L]`, for quality metrics; both are `[..., D]`.

        Without parts, both are scaled as in `reconstruct`. With parts, both are scaled like the encoder's inputs, so
        that each part has its weight. They are then 0 in the parts that an item lacks, so that these parts do not
        count.
        """
        if self.layout is None:
            return normalize(vectors, self.unit_norm), self.reconstruct(codes)
        there = present_parts(self.layout, vectors)[..., self.layout.part_of_feature]
        decoded = self.decoder(self.quantizer.lookup(codes))
        return apply_scaling(self.scaling, vectors), jnp.where(there, decoded, 0.0)

    def align(self, quantized: jax.Array) -> jax.Array:
        """Maps quantized vectors `[..., Z]` linearly to the space of the co-occurrence vectors, `[..., C]`."""
        if self.aligner is None:
            raise ValueError("the model has no map for align; build the model with collaborative_dimension")
        return apply_linear(self.aligner, quantized)

    def __call__(
        self,
        vectors: jax.Array,
        *,
        key: jax.Array | None = None,
        decoder_gradient: jax.Array | float = 1.0,
        mixed: bool = False,
        part_dropout: jax.Array | float = 0.0,
        frozen_encoder: jax.Array | None = None,
        **choices: Any,
    ) -> RQVAEOutput:
        """Runs the training forward pass.

        Args:
          vectors: `[..., D]`, unscaled.
          key: PRNG key of dropout, part dropout and the quantizer's noise; None disables all three.
          decoder_gradient: factor on the gradient from the decoder to quantizer and encoder; may be traced.
          mixed: whether matrix products of encoder and decoder round their operands to bfloat16; codes are always
            assigned in float32.
          part_dropout: share of an item's parts that are masked in the encoder's input; at least one part is not
            masked; may be traced. The decoder reconstructs all parts that the item has.
          frozen_encoder: bool; may be traced. If True, the gradient of the encoder's parameters is 0 and is not
            computed. None means False.
          **choices: arguments of `residual_quantize`, such as temperature, noise_scale and hard.
        """
        encoder_key, noise_key, decoder_key = [None] * 3 if key is None else jax.random.split(key, 3)
        targets = inputs = apply_scaling(self.scaling, vectors)
        present = None
        if self.layout is not None:
            there = present_parts(self.layout, vectors)
            present = there[..., self.layout.part_of_feature]
            if key is not None:
                there = _seen_parts(jax.random.fold_in(key, 1), there, part_dropout)
            inputs = self._filled(targets, there)
        if frozen_encoder is None:
            latents = self.encoder(inputs, encoder_key, mixed=mixed)
        else:
            graphdef, params = nnx.split(self.encoder)
            latents = with_gradient_unless(
                frozen_encoder, lambda params: nnx.merge(graphdef, params)(inputs, encoder_key, mixed=mixed), params
            )
        quantizer = self.quantizer(latents, key=noise_key, **choices)
        constant = jax.lax.stop_gradient(quantizer.quantized)
        quantized = constant + decoder_gradient * (quantizer.quantized - constant)
        return RQVAEOutput(targets, self.decoder(quantized, decoder_key, mixed=mixed), quantizer, present)


def _seen_parts(key: jax.Array, there: jax.Array, dropout: jax.Array | float) -> jax.Array:
    """Returns the parts that the encoder sees after part dropout, `[..., P]` bool.

    They are a subset of the parts that the item has (`there`), with at least one part.
    """
    chance = jnp.where(there, jax.random.uniform(key, there.shape), -1.0)
    always = jax.nn.one_hot(jnp.argmax(chance, axis=-1), there.shape[-1], dtype=bool)
    return there & ((chance >= dropout) | always)
