"""The residual-quantized autoencoder: scaling, encoder, quantizer, decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sid_jax.data.scaling import Scaling, apply_scaling, invert_scaling
from sid_jax.models.mlp import MLP, apply_linear
from sid_jax.models.quantizer import ResidualQuantizer, Statistic
from sid_jax.quantize.residual import QuantizationMethod, QuantizerOutput


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RQVAEOutput:
    """What a forward pass in training gives.

    Attributes:
      targets: `[..., D]`, the scaled input, which the decoder is to give back.
      reconstructions: `[..., D]`, what it gave, in the same scaled space.
      quantizer: the quantizer's codes, gradients, soft assignments and losses.
    """

    targets: jax.Array
    reconstructions: jax.Array
    quantizer: QuantizerOutput


class RQVAE(nnx.Module):
    """Autoencoder whose latent vector is a sum of L codewords (Rajput et al., 2305.05065, section 3.1).

    Args:
      num_features: D, features of an input vector.
      codebook_sizes: K of each of the L levels.
      latent_dimension: Z; None for no networks at all: what is quantized is the scaled input itself.
      hidden_dimensions: widths of the encoder's hidden layers; the decoder's are reversed.
      activation: "silu", "relu" or "gelu".
      dropout: share of hidden activations dropped in training.
      shortcut: whether encoder and decoder have a linear map beside their layers (see `MLP`).
      unit_norm: whether each input vector is brought to length 1 first.
      collaborative_dimension: C of the vectors that `align` is to find; None for no such map.
      quantization_method: how the quantizer is trained (see `ResidualQuantizer`).
      rngs: for the parameters.
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
        rngs: nnx.Rngs,
    ):
        dimensions = (num_features, *hidden_dimensions, latent_dimension) if latent_dimension else (num_features,)
        network: dict[str, Any] = {"activation": activation, "dropout": dropout, "shortcut": shortcut}
        self.encoder = MLP(dimensions, **network, rngs=rngs)
        self.quantizer = ResidualQuantizer(codebook_sizes, dimensions[-1], method=quantization_method, rngs=rngs)
        self.decoder = MLP(dimensions[::-1], **network, rngs=rngs)
        self.aligner = nnx.data(
            nnx.Linear(dimensions[-1], collaborative_dimension, use_bias=False, rngs=rngs)
            if collaborative_dimension
            else None
        )
        self.unit_norm = unit_norm
        self.mean = Statistic(jnp.zeros(num_features))
        self.scale = Statistic(jnp.ones(num_features))

    @property
    def scaling(self) -> Scaling:
        """The scaling between input space and the encoder."""
        return Scaling(unit_norm=self.unit_norm, mean=self.mean[...], scale=self.scale[...])

    def set_scaling(self, scaling: Scaling) -> None:
        """Takes over a fitted scaling; whether it brings vectors to length 1 was settled when the model was made."""
        if scaling.unit_norm != self.unit_norm:
            raise ValueError(f"the scaling has unit_norm={scaling.unit_norm}, the model {self.unit_norm}")
        self.mean[...] = jnp.asarray(scaling.mean)
        self.scale[...] = jnp.asarray(scaling.scale)

    def encode(self, vectors: jax.Array) -> jax.Array:
        """Returns the latent vectors `[..., Z]` of input vectors `[..., D]`, as they came."""
        return self.encoder(apply_scaling(self.scaling, vectors))

    def assign(self, vectors: jax.Array) -> jax.Array:
        """Returns the codes `[..., L]` int32 of input vectors `[..., D]`."""
        return self.quantizer.assign(self.encode(vectors))

    def reconstruct(self, codes: jax.Array) -> jax.Array:
        """Returns the vectors `[..., D]` that codes `[..., L]` stand for, in the space of the (unit-norm) input."""
        return self.decode(self.quantizer.lookup(codes))

    def decode(self, latents: jax.Array) -> jax.Array:
        """Returns the vectors `[..., D]` that latent vectors `[..., Z]` stand for, in the same space."""
        return invert_scaling(self.scaling, self.decoder(latents))

    def align(self, quantized: jax.Array) -> jax.Array:
        """Returns what quantized vectors `[..., Z]` say of who takes the item, `[..., C]`: a linear map of them."""
        if self.aligner is None:
            raise ValueError("the model has no collaborative_dimension")
        return apply_linear(self.aligner, quantized)

    def __call__(
        self,
        vectors: jax.Array,
        *,
        key: jax.Array | None = None,
        decoder_gradient: jax.Array | float = 1.0,
        mixed: bool = False,
        **choices: Any,
    ) -> RQVAEOutput:
        """The pass that training differentiates.

        Args:
          vectors: `[..., D]`, as they came.
          key: PRNG key of dropout and Gumbel noise; None runs without either.
          decoder_gradient: factor on the gradient that the decoder sends to quantizer and encoder; may be traced.
          mixed: whether the products of encoder and decoder round their factors to bfloat16; codes are chosen in
            float32 whatever.
          **choices: those of `ResidualQuantizer`: temperature, noise_scale, hard, ...
        """
        encoder_key, noise_key, decoder_key = [None] * 3 if key is None else jax.random.split(key, 3)
        targets = apply_scaling(self.scaling, vectors)
        quantizer = self.quantizer(self.encoder(targets, encoder_key, mixed=mixed), key=noise_key, **choices)
        constant = jax.lax.stop_gradient(quantizer.quantized)
        quantized = constant + decoder_gradient * (quantizer.quantized - constant)
        return RQVAEOutput(targets, self.decoder(quantized, decoder_key, mixed=mixed), quantizer)
