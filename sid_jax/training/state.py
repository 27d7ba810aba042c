"""The training state of the quantizer, and its initialization."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from sid_jax.data.blocks import take_rows
from sid_jax.data.layout import Layout
from sid_jax.data.scaling import apply_scaling, fit_filler, fit_scaling
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.kmeans import residual_kmeans
from sid_jax.quantize.product import product_kmeans
from sid_jax.streams import stream_key
from sid_jax.training.sharding import abstract_on_every_device


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The training state, as saved in checkpoints. It has no random state (see `sid_jax.streams`).

    Attributes:
      step: int32 scalar, number of completed optimizer steps.
      params: encoder, codebooks and decoder.
      statistics: variables that are not optimized, such as the scaling, the moving averages of code counts ("ema"), and
        whether the codebooks are initialized.
      opt_state: the optimizer's state.
      taken: for each level `[K]` int32, the number of assignments of each code since the last reset.
    """

    step: jax.Array
    params: nnx.State
    statistics: nnx.State
    opt_state: optax.OptState
    taken: tuple[jax.Array, ...]


def level_sizes(model: ConfigDict) -> tuple[int, ...]:
    """Returns K of each of the L levels; the config has one number for all levels, or one per level."""
    size = model.codebook_size
    return tuple(size) if isinstance(size, (tuple, list)) else (size,) * model.num_levels


def model_shape(config: ConfigDict, num_features: int, layout: Layout | None = None) -> dict[str, Any]:
    """Returns the arguments of `RQVAE`, except `rngs`, for a config and vectors of `num_features` features."""
    model = config.model
    return {
        "num_features": num_features,
        "codebook_sizes": level_sizes(model),
        "latent_dimension": None if model.encoder == "identity" else model.latent_dimension,
        "hidden_dimensions": tuple(model.hidden_dimensions),
        "activation": model.activation,
        "dropout": model.dropout,
        "shortcut": model.encoder == "residual",
        "unit_norm": config.data.unit_norm,
        "collaborative_dimension": config.data.collaborative_dimension if model.alignment_weight else None,
        "quantization_method": model.quantization_method,
        "layout": layout,
        "product": model.quantizer == "opq",
    }


@functools.partial(jax.jit, static_argnames="shape")
def _draw_parameters(shape: tuple[tuple[str, Any], ...], key: jax.Array) -> nnx.State:
    """Draws all parameters in one compiled program, instead of one program per parameter shape."""
    return nnx.state(RQVAE(**dict(shape), rngs=nnx.Rngs(params=key)))


def begin(config: ConfigDict, vectors: np.ndarray, layout: Layout | None = None) -> RQVAE:
    """Returns the model at step 0: initialized networks, fitted scaling, and codebooks from k-means on latent vectors.

    `vectors` is the corpus, `[N, D]` float32. k-means uses a random sample if N exceeds `train.kmeans_sample_items`.
    """
    data, train = config.data, config.train
    shape, key = model_shape(config, vectors.shape[1], layout), stream_key(config.seed, "params")
    model = nnx.merge(
        nnx.graphdef(abstract_model(config, vectors.shape[1], layout)), _draw_parameters(tuple(shape.items()), key)
    )
    how = {"unit_norm": data.unit_norm, "center": data.center, "standardize": data.standardize}
    model.set_scaling(fit_scaling(vectors, **how, layout=layout))
    sample = vectors
    if len(vectors) > train.kmeans_sample_items:
        chosen = jax.random.choice(
            stream_key(config.seed, "kmeans_sample"), len(vectors), (train.kmeans_sample_items,), replace=False
        )
        sample = take_rows(vectors, np.sort(np.asarray(chosen)))
    if layout is not None:
        scaled = np.asarray(_apply_scaling(model.scaling, jnp.asarray(sample)))
        filler = fit_filler(layout, scaled, ~layout.lacking(sample), dropout=train.part_dropout)
        assert model.filler is not None
        model.filler[...] = jnp.asarray(filler)
    if config.model.encoder == "residual":
        _start_as_pca(model, sample)
    sizes = model.quantizer.codebook_sizes
    if model.quantizer.product:
        inputs = _inputs(model, jnp.asarray(sample))
        rotation, codebooks = product_kmeans(inputs, sizes, train.kmeans_iterations)
        model.set_rotation(jnp.asarray(rotation))
    else:
        codebooks = residual_kmeans(_encode(model, jnp.asarray(sample)), sizes, train.kmeans_iterations)
    model.quantizer.set_codebooks(codebooks)
    return model


_encode = jax.jit(RQVAE.encode)
_apply_scaling = jax.jit(apply_scaling)
_inputs = jax.jit(RQVAE.inputs)


def _start_as_pca(model: RQVAE, vectors: np.ndarray) -> None:
    """Sets the encoder's shortcut to the first principal axes of the vectors, and the decoder's to the transpose.

    The shortcut uses Z axes for Z latent features. If Z >= D, it is a rotation to D latent features, and the remaining
    Z - D latent features are 0.
    """
    scaled = np.asarray(_inputs(model, jnp.asarray(vectors)), np.float64)
    _, axes = np.linalg.eigh(scaled.T @ scaled)
    encoding, decoding = model.encoder.shortcut, model.decoder.shortcut
    assert encoding is not None and decoding is not None
    kernel = np.zeros(encoding.kernel.shape, np.float32)
    kernel[:, : len(axes)] = axes[:, ::-1][:, : kernel.shape[1]]
    encoding.kernel[...] = jnp.asarray(kernel)
    decoding.kernel[...] = jnp.asarray(kernel.T)


def make_state(model: RQVAE, init_optimizer: Callable[[nnx.State], optax.OptState]) -> TrainState:
    """Returns the training state at step 0 for an initialized model.

    `init_optimizer` returns the optimizer's state from the parameters, as `BaseRecipe.init_optimizer` does.
    """
    params, statistics = nnx.state(model, nnx.Param, ...)
    taken = tuple(jnp.zeros(size, jnp.int32) for size in model.quantizer.codebook_sizes)
    return TrainState(jnp.zeros((), jnp.int32), params, statistics, init_optimizer(params), taken)


def abstract_model(config: ConfigDict, num_features: int, layout: Layout | None = None) -> RQVAE:
    """Returns the model's structure and shapes without its arrays. Nothing is drawn or compiled."""
    shape = model_shape(config, num_features, layout)
    return nnx.eval_shape(lambda: RQVAE(**shape, rngs=nnx.Rngs(0)))


def abstract_state(
    config: ConfigDict,
    optimizer: optax.GradientTransformation,
    num_features: int,
    mesh: Mesh,
    layout: Layout | None = None,
) -> TrainState:
    """Returns the shapes, dtypes and shardings of a run's state, which is replicated on every device of the mesh."""
    shapes = jax.eval_shape(lambda: make_state(abstract_model(config, num_features, layout), optimizer.init))
    return abstract_on_every_device(shapes, mesh)
