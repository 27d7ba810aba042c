"""Compares runs of configs/ml100k.py on 1, 2 and 8 devices.

python -m tests.training.devices_of_run METHOD CACHE
"""

import sys

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from configs.ml100k import get_config
from sid_jax.data.load import load_vectors
from sid_jax.training.evaluate import evaluate
from sid_jax.training.recipe import Recipe
from sid_jax.training.schedules import Durations
from sid_jax.training.sharding import on_every_device
from sid_jax.training.state import abstract_model, begin, make_state
from sid_jax.training.step import train_steps


def compare(method: str, cache_dir: str) -> None:
    """Trains for 30 steps on 1, 2 and 8 devices, and computes the codes of one trained state on 1, 2 and 8 devices.

    Raises:
      AssertionError: if the losses or the codes differ.
    """
    config = get_config(f"{method},text")
    config.data.cache_dir = cache_dir
    vectors = load_vectors(config.data).vectors
    durations = Durations.of(config.train, len(vectors))
    recipe = Recipe.of(config, durations, abstract_model(config, vectors.shape[1]))
    # A training step donates its inputs, so they cannot be used again. The initial state therefore stays on the host.
    start = jax.device_get(make_state(begin(config, vectors), recipe.init_optimizer))
    losses, states, meshes = {}, {}, {}
    for count in (1, 2, 8):
        devices = jax.devices()[:count]
        mesh = meshes[count] = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices)
        placed = on_every_device((start, vectors), mesh)
        states[count], metrics = train_steps(recipe, *placed, num_steps=30, mesh=mesh)
        losses[count] = np.asarray(metrics["loss"])
    for count in (2, 8):
        difference = np.abs(losses[count] / losses[1] - 1)
        # Because of rounding, an item on the boundary of two codes may get the other code. One such item changes the
        # mean loss of a batch of 256 items by less than 0.1%.
        assert np.mean(difference < 1e-5) >= 0.95 and difference.max() < 1e-3, difference
    trained = jax.device_get(states[1])
    # The number of movies, 1,682, is divisible by 2, but not by 8.
    one, *others = (evaluate(recipe, on_every_device(trained, mesh), vectors, 1.0, mesh) for mesh in meshes.values())
    for other in others:
        np.testing.assert_array_equal(other.codes, one.codes)
        for name, value in one.metrics.items():
            assert other.metrics[name] == pytest.approx(value, rel=1e-5), name


if __name__ == "__main__":
    compare(*sys.argv[1:])
