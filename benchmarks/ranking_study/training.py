"""Trains a ranker in one compiled call, and computes the ranker's scores."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ranking_study.model import RatingModel
from ranking_study.ratings import Examples
from ranking_study.sides import Side
from sid_jax.streams import stream_key
from sid_jax.training.sharding import all_devices, on_every_device, refuse_uneven_batches, scan_steps

# Number of ratings that are scored per call.
_RATINGS_A_CALL = 8192


class _State(NamedTuple):
    step: jax.Array
    params: nnx.State
    opt_state: optax.OptState


def rank(
    config: ConfigDict, side: Side, trait_sizes: tuple[int, ...], train: Examples, test: Examples, seed: int
) -> np.ndarray:
    """Trains a ranker and returns its log-odds of a like for each test example, `[T]` float32.

    Args:
      config: from `ranking_study.config`.
      side: the item representation.
      trait_sizes: number of values of each user trait.
      train: the training examples.
      test: the test examples; `liked` is ignored.
      seed: seed of the initial parameters, the order of the examples, and dropout.
    """
    mesh = all_devices()
    refuse_uneven_batches(config.train.batch_size, mesh)
    model = RatingModel(
        num_rows=side.num_rows,
        num_inputs=side.inputs.shape[1],
        features=config.model.features,
        trait_sizes=trait_sizes,
        hidden=config.model.hidden,
        dropout=config.model.dropout,
        initial_scale=config.model.initial_scale,
        rngs=nnx.Rngs(params=stream_key(seed, "parameters")),
    )
    graphdef = nnx.graphdef(model)
    steps_per_epoch = -(-len(train.items) // config.train.batch_size)
    num_steps = max(1, round(config.train.num_epochs * steps_per_epoch))
    params, examples, trained = on_every_device((nnx.state(model, nnx.Param), train, side.trained), mesh)
    params = _train(
        graphdef,
        params,
        examples,
        trained,
        jnp.asarray(seed, jnp.uint32),
        learning_rate=config.train.learning_rate,
        weight_decay=config.train.weight_decay,
        batch_size=config.train.batch_size,
        num_steps=num_steps,
        mesh=mesh,
    )
    return _answer(graphdef, params, side.inputs, test)


@functools.partial(
    jax.jit,
    static_argnames=(
        "graphdef",
        "learning_rate",
        "weight_decay",
        "batch_size",
        "num_steps",
        "mesh",
    ),
    donate_argnames=("params",),
)
def _train(
    graphdef: nnx.GraphDef[Any],
    params: nnx.State,
    examples: Examples,
    trained: jax.Array,
    seed: jax.Array,
    *,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    num_steps: int,
    mesh: Mesh,
) -> nnx.State:
    # The optimizer is built here from static arguments, which are compared by value. So a second training run with
    # equal static arguments and equal array shapes is not compiled again.
    schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
    optimizer = optax.adamw(schedule, weight_decay=weight_decay, mask=_matrices)

    def take_step(state: _State, chosen: jax.Array) -> tuple[_State, jax.Array]:
        batch = jax.tree.map(lambda leaf: leaf[chosen], examples)
        way = jax.random.randint(stream_key(seed, "way", state.step), (), 0, trained.shape[0])

        def loss_of(params: nnx.State) -> jax.Array:
            model: RatingModel = nnx.merge(graphdef, params)
            logits = model(trained[way], batch, stream_key(seed, "dropout", state.step))
            return optax.sigmoid_binary_cross_entropy(logits, batch.liked).mean()

        loss, grads = jax.value_and_grad(loss_of)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return _State(state.step + 1, optax.apply_updates(state.params, updates), opt_state), loss

    state, _ = scan_steps(
        take_step,
        _State(jnp.zeros((), jnp.int32), params, optimizer.init(params)),
        seed=seed,
        num_examples=examples.items.shape[0],
        batch_size=batch_size,
        num_steps=num_steps,
        mesh=mesh,
    )
    return state.params


def _answer(graphdef: nnx.GraphDef[Any], params: nnx.State, inputs: np.ndarray, test: Examples) -> np.ndarray:
    found = []
    for start in range(0, len(test.items), _RATINGS_A_CALL):
        part = jax.tree.map(lambda leaf, start=start: leaf[start : start + _RATINGS_A_CALL], test)
        found.append(np.asarray(_logits(graphdef, params, inputs, part)))
    return np.concatenate(found)


@functools.partial(jax.jit, static_argnames=("graphdef",))
def _logits(
    graphdef: nnx.GraphDef[Any], params: nnx.State, inputs: jax.Array | np.ndarray, asked: Examples
) -> jax.Array:
    model: RatingModel = nnx.merge(graphdef, params)
    return model(inputs, asked)


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
