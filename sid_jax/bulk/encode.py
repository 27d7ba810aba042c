"""The first stage of a bulk export: encodes the vectors of each part, which is a range of rows of an input file.

While the device encodes vectors, the next vectors are read and copied to the device.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sid_jax.bulk.ids import hash_ids
from sid_jax.bulk.job import ArrowIds, Items, Job, scratch_file, write_array, write_columns
from sid_jax.data.blocks import not_finite
from sid_jax.data.vector_files import refuse_bad_rows
from sid_jax.ids.convert import code_type
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.losses import squared_error

# Number of vectors per call and device. It is smaller for CPUs, so that intermediate arrays fit into the cache. The
# codes of a call are read after `_CALLS_AHEAD` later calls are queued.
_ITEMS_A_DEVICE, _ITEMS_A_CPU = 16_384, 2048
_CALLS_AHEAD = 2
Item = TypeVar("Item")
_END = object()


def encode_part(job: Job, part: int) -> dict[str, Any]:
    """Writes a part's codes, and for the scheme "relocate" also its latent vectors.

    Returns the number of items of each code of each level, and the moments (see `_moments`).
    """
    ids, blocks = [], []
    latents_file = scratch_file(job.file("latents", part)) if job.scheme == "relocate" else contextlib.nullcontext()
    with read_ahead(job.inputs.blocks(part, _items_a_call())) as read, latents_file as file:
        for block_ids, codes, latents, hashes, moments in _encoded(job, part, read):
            ids.append(block_ids)
            blocks.append((codes, hashes, moments))
            if file is not None:
                file.write(latents.data)
    codes, hashes, moments = (np.concatenate(each) for each in zip(*blocks, strict=True))
    if not job.inputs.ids_are_row_numbers:
        write_array(job.file("id_hashes", part), np.sort(hash_ids(pa.concat_arrays(ids))))
    order = np.argsort(codes[:, 0], kind="stable")
    rows = np.arange(len(codes), dtype=np.int32)
    items = Items(np.full_like(rows, part), rows, ArrowIds(pa.chunked_array(ids)), codes, hashes).rows(order)
    write_columns(job.file("encoded", part), items.columns())
    counts = [np.bincount(level, minlength=size) for level, size in zip(codes.T, job.sizes, strict=True)]
    return {"counts": counts, "moments": moments.sum(axis=0, dtype=np.float64)}


def _encoded(
    job: Job, part: int, blocks: Iterator[tuple[pa.Array, np.ndarray]]
) -> Iterator[tuple[pa.Array, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yields ids, codes, latent vectors, hashes of vectors, and moments, in the order of the blocks."""
    size, mesh = _items_a_call(), _local_devices()
    shared_out, everywhere = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in (("data",), ()))
    # The model is passed as plain arrays, since a module would be flattened in Python at each call.
    leaves, structure = jax.tree.flatten(jax.device_put(job.model, everywhere))
    waiting: collections.deque[tuple[pa.Array, np.ndarray, tuple[jax.Array, ...]]] = collections.deque()
    row = 0

    def finish() -> tuple[pa.Array, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        ids, vectors, results = waiting.popleft()
        codes, latents, hashes, finite, moments = (np.asarray(each) for each in results)
        # `finite` is also false if all values of a vector are finite, but their sum overflows. The vectors are
        # therefore checked again.
        if not finite[: len(ids)].all() and len(not_finite(vectors, job.inputs.layout)):
            refuse_bad_rows(job.inputs, "--on_bad_rows=drop")
        high, low = hashes[: len(ids)].astype(np.uint64).T
        return ids, codes[: len(ids)], latents[: len(ids)], high << np.uint64(32) | low, moments[None]

    for ids, vectors in blocks:
        padded = np.pad(vectors, ((0, size - len(vectors)), (0, 0))) if len(vectors) < size else vectors
        first_item = job.inputs.parts[part].first_item + row
        sampled = -first_item % job.sample_every
        on_device = jax.device_put(padded, shared_out)
        kind = code_type(job.sizes).name
        results = _encode(structure, leaves, on_device, kind, job.sample_every, sampled, len(vectors))
        waiting.append((ids, vectors, results))
        row += len(vectors)
        if len(waiting) > _CALLS_AHEAD:
            yield finish()
    while waiting:
        yield finish()


@functools.cache
def _local_devices() -> jax.sharding.Mesh:
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def _items_a_call() -> int:
    return (_ITEMS_A_CPU if jax.default_backend() == "cpu" else _ITEMS_A_DEVICE) * jax.local_device_count()


@functools.partial(jax.jit, static_argnames=("structure", "kind", "sample_every"))
def _encode(
    structure: Any,
    leaves: list[jax.Array],
    vectors: jax.Array,
    kind: str,
    sample_every: int,
    first_sampled: int,
    num_items: int,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns codes `[B, L]`, latents `[B, Z]`, hashes of the vectors, whether each is finite `[B]`, and moments.

    The hashes are `[B, 2]` uint32, the high and the low half of a 64-bit hash for each vector. `_moments` computes the
    moments, from every `sample_every`th of the first `num_items` vectors, starting at `first_sampled`.
    """
    model = jax.tree.unflatten(structure, leaves)
    latents = model.encode(vectors)
    codes = model.quantizer.assign(latents)
    bits = jax.lax.bitcast_convert_type(vectors, jnp.uint32)
    odd = np.random.default_rng(0).integers(0, 2**31, (vectors.shape[1], 2), np.uint32) * np.uint32(2) + np.uint32(1)
    hashes = jnp.sum(bits[..., None] * odd[None], axis=1, dtype=jnp.uint32)
    finite = jnp.isfinite(jnp.sum(jnp.abs(vectors), axis=1))
    rows = first_sampled + jnp.arange(-(-len(vectors) // sample_every)) * sample_every
    counted = rows < num_items
    rows = jnp.minimum(rows, len(vectors) - 1)
    moments = _moments(model, vectors[rows], codes[rows], counted)
    return codes.astype(kind), latents, hashes, finite, moments


def _moments(model: RQVAE, vectors: jax.Array, codes: jax.Array, counted: jax.Array) -> jax.Array:
    """Returns the moments `[D + 3]` of a sample. Moments of several samples can be added; R^2 follows from them.

    Only the items that `counted` marks are included. The moments are the number of these items, the sum of their
    squared errors, the sum of their squared distances to the model's mean, and the sum `[D]` of their differences from
    this mean.
    """
    inputs, reconstructions = model.compared(vectors, codes)
    errors = squared_error(inputs, reconstructions)
    # The model has a layout if each vector consists of parts, such as text and image. `compared` then returns scaled
    # vectors. Their mean is 0, and the features of parts that an item lacks are 0.
    away = inputs if model.layout is not None else inputs - model.mean[...][None]
    counted = counted.astype(jnp.float32)
    scalars = [jnp.sum(counted), jnp.sum(counted * errors), jnp.sum(counted * jnp.sum(jnp.square(away), axis=1))]
    return jnp.concatenate([jnp.stack(scalars), counted @ away])


@contextlib.contextmanager
def read_ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Iterator[Item]]:
    """Returns a context manager that yields an iterator over `items`, which are read ahead in a thread.

    The thread reads up to `depth` + 1 items ahead of the iterator. If reading fails, the iterator raises the error.
    """
    waiting: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(_END)
        except BaseException as error:  # `given` raises the error again.
            put(error)

    def given() -> Iterator[Item]:
        while (item := waiting.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        stopped.set()
        thread.join()
