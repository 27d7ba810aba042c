"""The next version: who stays, with the ID of before, who leaves, who comes and who comes back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from sid_jax.append.batch import Batch
from sid_jax.append.published import Published
from sid_jax.errors import UserError
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.convert import places
from sid_jax.ids.matching import first_in_group
from sid_jax.ids.relocate import tuple_keys
from sid_jax.ids.table import IdTable, joined
from sid_jax.ids.unique import extend_ids


@dataclasses.dataclass(frozen=True, eq=False)
class Version:
    """One version.

    Attributes:
      items: those of the version before, in its order, and then those who come, in the order of their ids.
      new: the items of the batch that nobody had heard of.
      added: `[n]`, their rows.
      retired: who has an ID to come back to.
      removed_in: `[R]` int32, in which version each of these was gone.
      counts: what the manifest says of who came and went.
    """

    items: IdTable
    new: Batch
    added: np.ndarray
    retired: IdTable
    removed_in: np.ndarray
    counts: dict[str, int]


def next_version(
    published: Published, batch: Batch, removed: pa.ChunkedArray, where: str, *, reuse_removed: bool
) -> Version:
    """Returns the version after a published one.

    Args:
      published: the one before.
      batch: items of the input.
      removed: ids of those who are to leave, no two alike; of those who have left already too.
      where: what an error calls the list of these.
      reuse_removed: whether IDs of items that have left may be given to others.

    Raises:
      UserError: if one who is to leave is in the batch, or was never there; if nobody would be left; or if there are
        not enough free IDs.
    """
    kept = _kept(published, batch, removed, where)
    # Of each item of the batch, the row among the retired and among the published ones.
    returns, known = places(batch.ids, published.retired.arrow_ids), places(batch.ids, published.items.arrow_ids)
    # Of millions no copy is made where none leaves.
    staying = published.items if kept.all() else published.items.take(kept)
    leaving = published.items.take(~kept)
    returning, coming = np.flatnonzero(returns >= 0), np.flatnonzero((returns < 0) & (known < 0))
    back = published.retired.take(returns[returning])
    away = np.ones(len(published.retired), bool)
    away[returns[returning]] = False
    retired = joined([published.retired.take(away), leaving])
    gone = np.full(len(leaving), published.number + 1, np.int32)
    removed_in = np.concatenate([published.removed_in[away], gone])
    there = joined([staying, back])
    come = batch.rows(coming)
    new = _new_items(published, come, there, retired, reuse_removed)
    # Who comes back stands among the new ones, in the order of the ids.
    order = np.argsort(np.concatenate([returning, coming]), kind="stable")
    items = joined([staying, joined([back, new]).take(order)])
    added = len(staying) + np.flatnonzero(order >= len(back))
    if reuse_removed:
        free = _still_free(published, items, retired)
        retired, removed_in = retired.take(free), removed_in[free]
    sizes = list(published.sizes)
    if published.scheme == "suffix":
        sizes[-1] = max(sizes[-1], int(items.semantic_ids[:, -1].max(initial=0)) + 1)
    counts = {
        "kept": len(staying),
        "already_there": int((known >= 0).sum()),
        "added": len(coming),
        "removed": len(leaving),
        "returned": len(returning),
        "moved": _count_moved(published.items, items),
        "retired": len(retired),
    }
    return Version(items.replace(sizes=sizes), come, added, retired.replace(sizes=sizes), removed_in, counts)


def _kept(published: Published, batch: Batch, removed: pa.ChunkedArray, where: str) -> np.ndarray:
    """Returns `[N]` bool, the published items that stay; the others leave."""
    there = published.items.arrow_ids
    leaving, gone = places(removed, there), places(removed, published.retired.arrow_ids)
    _refuse(removed, (leaving < 0) & (gone < 0), where, "is not in the export: leave it out")
    _refuse(removed, places(removed, batch.ids) >= 0, where, f"is in {batch.where} too: take it out of one of them")
    kept = np.ones(len(there), bool)
    kept[leaving[leaving >= 0]] = False
    if not kept.any() and not len(batch):
        raise UserError(f"{where}: names every item, so that none would be left")
    return kept


def _refuse(ids: pa.ChunkedArray, wrong: np.ndarray, where: str, words: str) -> None:
    if wrong.any():
        first = ids[int(np.flatnonzero(wrong)[0])].as_py()
        raise UserError(f"{where}: item {first!r} (and {int(wrong.sum()) - 1} more) {words}")


def _new_items(published: Published, batch: Batch, there: IdTable, retired: IdTable, reuse_removed: bool) -> IdTable:
    codes, levels = batch.codes, published.export.model.quantizer.codebook_sizes
    taken = there.semantic_ids if reuse_removed else np.concatenate([there.semantic_ids, retired.semantic_ids])
    semantic_ids = extend_ids(
        published.scheme,
        codes,
        # They are in the order of their ids, which is all that matters of these.
        np.arange(len(batch)),
        levels,
        CodeAlternatives(published.export.model, batch.vectors),
        taken,
        capacity=published.capacity,
        reusable=retired.semantic_ids if reuse_removed else None,
    )
    return there.replace(
        item_ids=batch.ids,
        semantic_ids=semantic_ids,
        codes=codes.astype(np.int32),
        columns=batch.columns(there.columns.schema),
        check=False,
    )


def _still_free(published: Published, items: IdTable, retired: IdTable) -> np.ndarray:
    """Returns `[R]` bool, the retired IDs that were not given again; of several alike, those that left last."""
    if published.scheme == "none":
        return np.ones(len(retired), bool)
    sizes = (*published.export.model.quantizer.codebook_sizes, 2**31)[: retired.semantic_ids.shape[1]]
    keys, has = tuple_keys(retired.semantic_ids, sizes), np.sort(tuple_keys(items.semantic_ids, sizes))
    capacity = published.capacity if published.scheme == "relocate" else 1
    room = capacity - (np.searchsorted(has, keys, "right") - np.searchsorted(has, keys))
    newest = -np.arange(len(keys))
    return first_in_group(keys, np.zeros(len(keys)), newest, np.maximum(room, 0))


def _count_moved(before: IdTable, after: IdTable) -> int:
    """Returns how many items that are in both have another Semantic ID now."""
    rows = places(before.arrow_ids, after.arrow_ids)
    there = rows >= 0
    return int((before.semantic_ids[there] != after.semantic_ids[rows[there]]).any(axis=1).sum())
