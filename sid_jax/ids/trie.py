"""The prefix trie of an ID table as flat arrays. It restricts a beam search inside `jit` to existing IDs.

The edges of each depth are a compressed sparse row (CSR) matrix, so that one step of a whole beam is a few gathers, as
in STATIC (Su et al., Vectorizing the Trie, 2602.22647).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sid_jax.data.parts.part import DAMAGED_NPZ
from sid_jax.errors import UserError, reason
from sid_jax.ids.convert import code_type
from sid_jax.paths import as_path

TRIE_FILE = "trie.npz"


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["first_child", "codes", "first_item", "items"],
    meta_fields=["max_children", "sizes"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Trie:
    """The prefix trie of N items' Semantic IDs of L codes, with one node per prefix. It is a JAX pytree.

    Depth 0 is the root. Depth L has one leaf for each distinct ID. n_l is the number of nodes of depth l. The nodes of
    a depth are numbered from 0 in the lexicographic order of their prefixes.

    Attributes:
      first_child: L arrays `[n_l + 1]` int32. The children of node v of depth l are the nodes of depth l + 1 from
        `first_child[l][v]` up to, but not including, `first_child[l][v + 1]`.
      codes: L arrays `[n_{l+1}]` int32: the code on the edge into each node of depth l + 1.
      first_item: `[n_L + 1]` int32: the items of leaf v are `items[first_item[v]:first_item[v + 1]]`.
      items: `[N]` int32, rows of the ID table.
      max_children: for each depth but the last, the maximum number of children of a node; static.
      sizes: the number of codes K of each level; static.
    """

    first_child: tuple[jax.Array, ...]
    codes: tuple[jax.Array, ...]
    first_item: jax.Array
    items: jax.Array
    max_children: tuple[int, ...]
    sizes: tuple[int, ...]


def build_trie(
    semantic_ids: np.ndarray,
    sizes: Sequence[int] | None = None,
    priority: np.ndarray | None = None,
    rows: np.ndarray | None = None,
) -> Trie:
    """Returns the trie of an ID table, or of some of its rows.

    Args:
      semantic_ids: `[N, L]` int32; several items may have the same ID.
      sizes: the number of codes K of each level; None takes one more than the level's largest code.
      priority: `[N]`. The items of one ID are sorted by descending priority, and for equal priority by row. None sorts
        them by row.
      rows: `[M]`, the rows of the table to include. Items keep their row numbers in the whole table. None includes all.

    Raises:
      ValueError: if a shape does not match, there are no items or levels, `rows` contains no row of the table, or a
        code is below 0 or not below its K.
    """
    semantic_ids = np.asarray(semantic_ids)
    if semantic_ids.ndim != 2 or 0 in semantic_ids.shape:
        raise ValueError(f"semantic_ids must have shape [N, L], not {semantic_ids.shape}")
    sizes = _checked_sizes(semantic_ids, sizes)
    order = _sorted_rows(semantic_ids, priority)
    if rows is not None:
        order = order[np.isin(order, rows)]
        if not len(order):
            raise ValueError("rows contains no row of the table")
    in_order = semantic_ids[order]
    changes = in_order[1:] != in_order[:-1]
    # For each depth, `starts` has the first row of each node in the sorted table. `ends` has the same rows and, as its
    # last entry, the number of rows. The rows of node i are therefore ends[i] to ends[i + 1] - 1.
    starts, is_start = [np.zeros(1, np.intp)], np.arange(len(order)) == 0
    for level in range(len(sizes)):
        is_start[1:] |= changes[:, level]
        starts.append(np.flatnonzero(is_start))
    ends = [np.append(each, len(order)) for each in starts]
    first_child = [np.searchsorted(child, parent) for parent, child in zip(ends[:-1], ends[1:], strict=True)]
    codes = [in_order[start, level] for level, start in enumerate(starts[1:])]
    return _trie(first_child, codes, ends[-1], order, sizes)


def trie_of_arrays(
    first_child: Sequence[np.ndarray],
    codes: Sequence[np.ndarray],
    first_item: np.ndarray,
    items: np.ndarray,
    sizes: Sequence[int],
) -> Trie:
    """Returns the trie with the given arrays, which may have any integer dtypes; see `Trie`.

    Raises:
      ValueError: if the arrays do not form a trie.
    """
    if not sizes:
        raise ValueError("it has no levels")
    counts = [1, *map(len, codes)]
    names = [*(f"first_child_{level}" for level in range(len(sizes))), "first_item"]
    runs = zip(names, [*first_child, first_item], [*counts[1:], len(items)], strict=True)
    for depth, (name, firsts, count) in enumerate(runs):
        if (
            len(firsts) != counts[depth] + 1
            or firsts[0] != 0
            or firsts[-1] != count
            or (firsts[1:] <= firsts[:-1]).any()
        ):
            raise ValueError(f"{name} does not partition {count} positions into {counts[depth]} nodes")
    for level, (each, size) in enumerate(zip(codes, sizes, strict=True)):
        if each.min() < 0 or each.max() >= size:
            raise ValueError(f"codes_{level} has a code that is not from 0 to {size - 1}")
    if not np.array_equal(np.bincount(items.clip(0, len(items) - 1)), np.ones(len(items), np.intp)):
        raise ValueError("items does not list each row of the table exactly once")
    return _trie(first_child, codes, first_item, items, sizes)


def write_trie(folder: Path, semantic_ids: np.ndarray, sizes: Sequence[int]) -> None:
    """Writes `trie.npz` for IDs `[N, L]`, which may repeat. The bytes are deterministic.

    `sizes` are the numbers of codes K of the levels.

    Raises:
      ValueError: see `build_trie`.
    """
    trie = build_trie(semantic_ids, sizes)
    arrays: dict[str, Any] = {f"first_child_{level}": np.asarray(first) for level, first in enumerate(trie.first_child)}
    arrays |= {
        f"codes_{level}": np.asarray(codes).astype(code_type(trie.sizes[level : level + 1]))
        for level, codes in enumerate(trie.codes)
    }
    arrays |= {"first_item": np.asarray(trie.first_item), "items": np.asarray(trie.items)}
    np.savez(folder / TRIE_FILE, sizes=np.array(trie.sizes, np.int32), **arrays)


def read_trie(path: str | Path) -> Trie:
    """Reads a trie that `write_trie` wrote.

    Raises:
      UserError: if the file is missing, contains pickled objects, or is not the trie of an ID table.
    """
    path = as_path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give {TRIE_FILE} of an export")
    try:
        with np.load(path, allow_pickle=False) as file:
            sizes = _integers(file, "sizes")
            first_child, codes = (
                [_integers(file, f"{name}_{level}") for level in range(len(sizes))] for name in ("first_child", "codes")
            )
            first_item, items = (_integers(file, name) for name in ("first_item", "items"))
    except (OSError, LookupError, TypeError, ValueError, MemoryError, RuntimeError, *DAMAGED_NPZ) as error:
        raise UserError(f"{path}: not a readable trie ({reason(error)}); export again") from error
    try:
        return trie_of_arrays(first_child, codes, first_item, items, sizes.tolist())
    except ValueError as error:
        raise UserError(f"{path}: not a trie of an ID table ({error}); export again") from error


def children(trie: Trie, level: int, nodes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the children of nodes of depth `level`, which is from 0 to L - 1; for use in jit.

    Args:
      trie: the trie.
      level: number of codes chosen so far; static.
      nodes: `[...]` int32, numbers of nodes of this depth; -1 means no node, which has no children.

    Returns:
      `[..., max_children[level]]` each: the children's numbers, int32, -1 after the last child; the codes on their
      edges, int32, 0 after the last child; and whether there is a child, bool.
    """
    first, end = _ranges(trie.first_child[level], nodes)
    shape = (*nodes.shape, trie.max_children[level])
    child = first[..., None] + jax.lax.broadcasted_iota(jnp.int32, shape, nodes.ndim)
    valid = child < end[..., None]
    codes = jnp.where(valid, trie.codes[level].at[child].get(mode="clip"), 0)
    return jnp.where(valid, child, -1), codes, valid


def child(trie: Trie, level: int, nodes: jax.Array, codes: jax.Array) -> jax.Array:
    """Returns the child to which a code `[...]` leads from each node `[...]` of depth `level` (static); for use in jit.

    Returns:
      `[...]` int32; -1 if there is no such child, or if the node is -1.
    """
    candidates, known, valid = children(trie, level, nodes)
    return jnp.max(jnp.where(valid & (known == codes[..., None]), candidates, -1), axis=-1)


def allowed_codes(trie: Trie, level: int, nodes: jax.Array) -> jax.Array:
    """Returns the mask `[..., K]` bool of codes that continue nodes `[...]` of depth `level` (static); for use in jit.

    The mask is all False for a node of -1.
    """
    _, codes, valid = children(trie, level, nodes.reshape(-1))
    size = trie.sizes[level]
    rows = jax.lax.broadcasted_iota(jnp.int32, codes.shape, 0)
    # Missing children get the column K, which is out of bounds, so that the scatter drops them.
    columns = jnp.where(valid, codes, size)
    mask = jnp.zeros((len(codes), size), bool).at[rows, columns].set(True, mode="drop")
    return mask.reshape(*nodes.shape, size)


def leaf_places(trie: Trie, leaves: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns the first `count` items under leaves, leaf by leaf, and the position of each item's leaf; for use in jit.

    Args:
      trie: the trie.
      leaves: `[B, M]` int32, numbers of nodes of depth L, the best first; -1 means no leaf, which has no items.
      count: number of items to return; static.

    Returns:
      Two arrays `[B, count]` int32: the items as rows of the ID table, with -1 after the last item; and for each item
      the position of its leaf in `leaves`.
    """
    first, end = _ranges(trie.first_item, leaves)
    filled = jnp.cumsum(end - first, axis=1)
    slots = jnp.arange(count, dtype=jnp.int32)
    leaf = jax.vmap(lambda each: jnp.searchsorted(each, slots, side="right"))(filled)
    there = leaf < leaves.shape[1]
    leaf = jnp.minimum(leaf, leaves.shape[1] - 1)
    # The items of leaf m are before position filled[m] of the output, and before position end[m] of `trie.items`. If
    # output position s belongs to leaf m, its item is therefore at position end[m] - (filled[m] - s) of `trie.items`.
    position = jnp.take_along_axis(end - filled, leaf, axis=1) + jnp.broadcast_to(slots, leaf.shape)
    return jnp.where(there, trie.items.at[position].get(mode="clip"), -1), leaf


def _trie(
    first_child: Sequence[np.ndarray],
    codes: Sequence[np.ndarray],
    first_item: np.ndarray,
    items: np.ndarray,
    sizes: Sequence[int],
) -> Trie:
    return Trie(
        first_child=tuple(map(_int32, first_child)),
        codes=tuple(map(_int32, codes)),
        first_item=_int32(first_item),
        items=_int32(items),
        max_children=tuple(int(np.diff(first).max()) for first in first_child),
        sizes=tuple(sizes),
    )


def _checked_sizes(semantic_ids: np.ndarray, sizes: Sequence[int] | None) -> tuple[int, ...]:
    largest = semantic_ids.max(axis=0).tolist()
    known = tuple(code + 1 for code in largest) if sizes is None else tuple(sizes)
    if len(known) != len(largest):
        raise ValueError(f"{len(known)} sizes are given for {len(largest)} levels; give one size per level")
    if semantic_ids.min() < 0:
        raise ValueError(f"a code is {semantic_ids.min()}; codes must be 0 or more")
    for level, (code, size) in enumerate(zip(largest, known, strict=True), start=1):
        if code >= size:
            raise ValueError(f"level {level} has the code {code}, but its size is {size}; codes must be below the size")
    return known


def _sorted_rows(semantic_ids: np.ndarray, priority: np.ndarray | None) -> np.ndarray:
    """Returns the rows sorted by ID; rows with the same ID are sorted by descending priority and then by row."""
    if priority is None:
        return np.lexsort(semantic_ids.T[::-1])
    if np.shape(priority) != semantic_ids.shape[:1]:
        raise ValueError(f"priority must have shape [N] with N = {len(semantic_ids)}, not {np.shape(priority)}")
    # Unsigned priorities cannot be negated to sort them in descending order. Instead, the array is reversed before and
    # after a stable sort in ascending order, so that rows with the same priority keep their order.
    falling = len(semantic_ids) - 1 - np.argsort(np.asarray(priority)[::-1], kind="stable")[::-1]
    return falling[np.lexsort(semantic_ids[falling].T[::-1])]


def _ranges(firsts: jax.Array, nodes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the range of the children or items of nodes `[...]`; it is empty for a node of -1."""
    first = firsts[jnp.maximum(nodes, 0)]
    return first, jnp.where(nodes < 0, first, firsts[nodes + 1])


def _int32(values: np.ndarray) -> jax.Array:
    # `jnp.asarray` would compile a conversion for each shape.
    return jax.device_put(np.asarray(values, np.int32))


def _integers(file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    array = file[name]
    # If an entry of the zip file does not begin with the signature of an array, NumPy returns its bytes.
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is not an array")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {array.dtype} and shape {list(array.shape)}, not whole numbers [n]")
    return array
