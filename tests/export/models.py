"""Small models of every kind that an export may contain, and vectors for these models."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from sid_jax.data.layout import ItemPart, Layout
from sid_jax.models.rqvae import RQVAE

LAYOUT = Layout((ItemPart("text", 8), ItemPart("price", 4, 2.0, False)))
KINDS = {
    "residual": {"shortcut": True, "unit_norm": True},
    "gelu": {"activation": "gelu", "hidden_dimensions": (24, 16)},
    "relu": {"activation": "relu", "quantization_method": "simvq"},
    "identity": {"latent_dimension": None},
    "opq": {"product": True},
    "parts": {"layout": LAYOUT},
}


def made_model(kind):
    """A model of 12 features with random weights."""
    settings = {"latent_dimension": 6, "hidden_dimensions": (16,), **KINDS[kind]}
    model = RQVAE(12, (8, 5) if kind == "gelu" else (8, 8), **settings, rngs=nnx.Rngs(1))
    drawn = np.random.default_rng(1)
    model.mean[...], model.scale[...] = drawn.normal(size=12).astype(np.float32), np.full(12, 1.5, np.float32)
    if kind == "parts":
        model.filler[...] = jnp.asarray(drawn.normal(size=(12, 12)) / 4, jnp.float32)
    for number, codebook in enumerate(model.quantizer.levels):
        # The codewords are near latent vectors, so that many codes are used.
        points = jnp.asarray(drawn.normal(size=(len(codebook), 12)), jnp.float32)
        codebook[...] = model.encode(points) if number == 0 else (model.encode(points) - model.encode(points[::-1])) / 2
    return model


def made_vectors(kind, vectors):
    """Returns the vectors `[n, 12]`; for the kind "parts", two of every three items lack a part."""
    if kind == "parts":
        vectors = vectors.copy()
        vectors[::3, :8], vectors[1::3, 8:] = np.nan, np.nan
    return vectors
