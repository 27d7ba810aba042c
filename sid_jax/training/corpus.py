"""Provides the vectors of each training step: from device memory if all vectors fit, or else from their file."""

from __future__ import annotations

import functools
import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from sid_jax.data.blocks import take_rows
from sid_jax.data.relations import Partners, Relations, draw_partners
from sid_jax.data.vector_set import VectorSet
from sid_jax.streams import stream_key
from sid_jax.training.recipe import Recipe
from sid_jax.training.schedules import Durations
from sid_jax.training.sharding import epoch_order, on_every_device, share_out
from sid_jax.training.state import TrainState
from sid_jax.training.step import Companions, Metrics, train_on_batches, train_steps

# Maximum size of a block in bytes. If vectors are read from their file during training, a block has the vectors of one
# compiled call. A few blocks are in memory at a time: those in use, those that are queued, and the one being read.
_BLOCK_BYTES = 2**26
_FLOAT_BYTES = 4


def durations_of(train: ConfigDict, shape: tuple[int, int]) -> Durations:
    """Returns the durations of a run on vectors of shape `[N, D]`."""
    return Durations.of(train, shape[0], most_steps_a_call(train, shape))


def most_steps_a_call(train: ConfigDict, shape: tuple[int, int]) -> int | None:
    """Returns the maximum number of steps per compiled call, such that the call's vectors fit in a block.

    `shape` is `[N, D]`, the shape of all vectors. The result is None (no maximum) if all vectors are kept in device
    memory, because they take at most `train.resident_bytes` bytes.
    """
    if math.prod(shape) * _FLOAT_BYTES <= train.resident_bytes:
        return None
    return max(1, _BLOCK_BYTES // (train.batch_size * shape[1] * _FLOAT_BYTES))


def open_corpus(config: ConfigDict, data: VectorSet, mesh: Mesh) -> ResidentCorpus | StreamedCorpus:
    """Returns the corpus that provides the vectors of each step, in memory or streamed; use it as a context manager."""
    if most_steps_a_call(config.train, data.vectors.shape) is None:
        return ResidentCorpus(data.vectors, data.relations, mesh)
    return StreamedCorpus(data.vectors, data.relations, mesh, seed=config.seed, batch_size=config.train.batch_size)


class ResidentCorpus:
    """A corpus that is replicated on every device: vectors `[N, D]` float32, and co-occurrences if a loss uses them."""

    def __init__(self, vectors: np.ndarray, relations: Relations | None, mesh: Mesh):
        self._mesh = mesh
        self._vectors, self._relations = on_every_device((vectors, relations), mesh)
        # The number of the latest epoch, and the order of the items in it.
        self._order: tuple[int, jax.Array] | None = None

    def __enter__(self) -> ResidentCorpus:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def train_steps(self, recipe: Recipe, state: TrainState, step: int, num_steps: int) -> tuple[TrainState, Metrics]:
        """Takes `num_steps` steps; `step` is the state's step. Returns the result of `training.step.train_steps`."""
        order = self._order_of(step // recipe.lengths.steps_per_epoch, recipe)
        return train_steps(recipe, state, self._vectors, self._relations, order, num_steps=num_steps, mesh=self._mesh)

    def _order_of(self, epoch: int, recipe: Recipe) -> jax.Array:
        if self._order is None or self._order[0] != epoch:
            length = recipe.lengths.steps_per_epoch * recipe.batch_size
            order = _epoch_order(recipe.seed, jnp.int32(epoch), len(self._vectors), length)
            self._order = epoch, on_every_device(order, self._mesh)
        return self._order[1]


class StreamedCorpus:
    """A corpus that stays in its file and is read during training, with the same batches as a resident corpus.

    A process reads only the rows that its own devices need. The order of an epoch (4 bytes per item) and the relations
    are the only data in memory that grow with N. Use the corpus as a context manager.

    Args:
      vectors: `[N, D]` float32, memory-mapped.
      relations: co-occurrences of the items; None if no loss uses them.
      mesh: the devices.
      seed: seed of the order of the items in each epoch, and of the draws of partners.
      batch_size: B.
    """

    def __init__(self, vectors: np.ndarray, relations: Relations | None, mesh: Mesh, *, seed: int, batch_size: int):
        self._vectors, self._mesh, self._seed, self._batch_size = vectors, mesh, seed, batch_size
        # The reader thread draws the partners (co-occurring items). It must not run collectives, so the arrays from
        # which it draws are on one device of this process.
        self._partners = jax.tree.map(jnp.asarray, relations and relations.partners)
        self._collaborative = None if relations is None else relations.collaborative
        self._steps_per_epoch = -(-len(vectors) // batch_size)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int32))
        self._reader = ThreadPoolExecutor(1)
        self._ahead: dict[tuple[int, int], Future[Any]] = {}

    def __enter__(self) -> StreamedCorpus:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown(cancel_futures=True)

    def train_steps(self, recipe: Recipe, state: TrainState, step: int, num_steps: int) -> tuple[TrainState, Metrics]:
        """Takes `num_steps` steps; `step` is the state's step. Returns the result of `training.step.train_steps`."""
        wanted = self._ahead.pop((step, num_steps), None) or self._reader.submit(self._read, step, num_steps)
        following = step + num_steps
        count = min(num_steps, recipe.lengths.num_steps - following)
        if count > 0:
            self._ahead = {(following, count): self._reader.submit(self._read, following, count)}
        batches, companions = wanted.result()
        return train_on_batches(recipe, state, batches, companions, mesh=self._mesh)

    def _read(self, step: int, num_steps: int) -> tuple[jax.Array, Companions | None]:
        items = np.stack([self._items(each) for each in range(step, step + num_steps)])
        batches = self._rows(self._vectors, items)
        partners, collaborative = None, None
        if self._partners is not None:
            drawn = _draw_for_steps(self._seed, self._partners, items, jnp.arange(step, step + num_steps))
            rows, found = map(np.asarray, drawn)
            partners = self._share_out(rows), self._share_out(found), self._rows(self._vectors, rows)
        if self._collaborative is not None:
            collaborative = self._rows(np.asarray(self._collaborative), items)
        if partners is None and collaborative is None:
            return batches, None
        return batches, Companions(self._share_out(items), partners, collaborative)

    def _items(self, step: int) -> np.ndarray:
        epoch, position = divmod(step, self._steps_per_epoch)
        if self._order[0] != epoch:
            length = self._steps_per_epoch * self._batch_size
            order = _epoch_order(self._seed, jnp.int32(epoch), len(self._vectors), length)
            self._order = (epoch, np.asarray(order))
        return self._order[1][position * self._batch_size :][: self._batch_size]

    def _share_out(self, numbers: np.ndarray) -> jax.Array:
        return share_out(numbers.shape, self._mesh, numbers.__getitem__, axis=1)

    def _rows(self, vectors: np.ndarray, rows: np.ndarray) -> jax.Array:
        """Returns the sharded vectors `[S, B, D]` of rows `[S, B]`. A process reads only what its devices need."""
        shape = (*rows.shape, vectors.shape[1])
        return share_out(shape, self._mesh, lambda index: _gather(vectors, rows[index[:2]]), axis=1)


_epoch_order = jax.jit(epoch_order, static_argnums=(0, 2, 3))


def _gather(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return take_rows(vectors, rows.reshape(-1)).reshape(*rows.shape, -1)


@functools.partial(jax.jit, static_argnames="seed")
def _draw_for_steps(seed: int, partners: Partners, items: jax.Array, steps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws a partner for each item in the batches `[S, B]` of S steps. Returns the results of `draw_partners`."""
    return jax.vmap(lambda step, batch: draw_partners(stream_key(seed, "partners", step), partners, batch))(
        steps, items
    )
