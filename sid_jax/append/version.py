"""The next version: everybody who stays, with the ID of before, and everybody who comes."""

from __future__ import annotations

import dataclasses

import numpy as np

from sid_jax.append.batch import Batch
from sid_jax.append.items import Items, joined, places
from sid_jax.append.membership import Membership
from sid_jax.append.published import Published
from sid_jax.export.tables import code_type
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.extend import extend_ids
from sid_jax.ids.matching import first_in_group
from sid_jax.ids.relocate import tuple_keys


@dataclasses.dataclass(frozen=True, eq=False)
class Version:
    """One version.

    Attributes:
      items: those of the version before, in its order, and then those who come, in the order of their ids.
      added: `[n]`, rows of the items that nobody had heard of.
      retired: who has an ID to come back to.
      removed_in: `[R]` int32, in which version each of these was gone.
      sizes: how many codes there are at each level of a Semantic ID.
      counts: what the manifest says of who came and went.
    """

    items: Items
    added: np.ndarray
    retired: Items
    removed_in: np.ndarray
    sizes: tuple[int, ...]
    counts: dict[str, int]


def next_version(published: Published, batch: Batch, who: Membership, *, reuse_removed: bool) -> Version:
    """Returns the version after a published one.

    Args:
      published: the one before.
      batch: items of the input.
      who: of both, and of whom is to leave.
      reuse_removed: whether IDs of items that have left may be given to others.

    Raises:
      UserError: if there are not enough free IDs.
    """
    staying, leaving = published.items.rows(who.kept), published.items.rows(~who.kept)
    returning, coming = np.flatnonzero(who.returns >= 0), np.flatnonzero(who.added)
    back = published.retired.rows(who.returns[returning])
    away = np.ones(len(published.retired), bool)
    away[who.returns[returning]] = False
    retired = joined([published.retired.rows(away), leaving])
    gone = np.full(len(leaving), published.version + 1, np.int32)
    removed_in = np.concatenate([published.removed_in[away], gone])
    there = joined([staying, back])
    new = _new_items(published, batch.rows(coming), there, retired, reuse_removed)
    # Who comes back stands among the new ones, in the order of the ids.
    order = np.argsort(np.concatenate([returning, coming]), kind="stable")
    items = joined([staying, joined([back, new]).rows(order)])
    added = len(staying) + np.flatnonzero(order >= len(back))
    if reuse_removed:
        free = _still_free(published, items, retired)
        retired, removed_in = retired.rows(free), removed_in[free]
    sizes = list(published.sizes)
    if published.scheme == "suffix":
        sizes[-1] = max(sizes[-1], int(items.semantic_ids[:, -1].max(initial=0)) + 1)
    counts = {
        "kept": len(staying),
        "already_there": int((who.known >= 0).sum()),
        "added": len(coming),
        "removed": len(leaving),
        "returned": len(returning),
        "moved": count_moved(published.items, items),
        "retired": len(retired),
    }
    return Version(items, added, retired, removed_in, tuple(sizes), counts)


def _new_items(published: Published, batch: Batch, there: Items, retired: Items, reuse_removed: bool) -> Items:
    codes, levels = batch.codes, published.model.quantizer.codebook_sizes
    taken = there.semantic_ids if reuse_removed else np.concatenate([there.semantic_ids, retired.semantic_ids])
    semantic_ids = extend_ids(
        published.scheme,
        codes,
        # They are in the order of their ids, which is all that matters of these.
        np.arange(len(batch)),
        levels,
        CodeAlternatives(published.model, batch.vectors),
        taken,
        capacity=published.capacity,
        reusable=retired.semantic_ids if reuse_removed else None,
    )
    kind = code_type([*levels, int(semantic_ids.max(initial=0)) + 1])
    return Items(batch.ids, codes, semantic_ids.astype(kind), batch.columns(there.columns.schema))


def _still_free(published: Published, items: Items, retired: Items) -> np.ndarray:
    """Returns `[R]` bool, the retired IDs that were not given again; of several alike, those that left last."""
    if published.scheme == "none":
        return np.ones(len(retired), bool)
    sizes = (*published.model.quantizer.codebook_sizes, 2**31)[: retired.semantic_ids.shape[1]]
    keys, has = tuple_keys(retired.semantic_ids, sizes), np.sort(tuple_keys(items.semantic_ids, sizes))
    capacity = published.capacity if published.scheme == "relocate" else 1
    room = capacity - (np.searchsorted(has, keys, "right") - np.searchsorted(has, keys))
    newest = -np.arange(len(keys))
    return first_in_group(keys, np.zeros(len(keys)), newest, np.maximum(room, 0))


def count_moved(before: Items, after: Items) -> int:
    """Returns how many items that are in both have another Semantic ID now."""
    rows = places(before.ids, after.ids)
    there = rows >= 0
    return int((before.semantic_ids[there] != after.semantic_ids[rows[there]]).any(axis=1).sum())
