"""Builds the next version of a catalog from the items that stay, are removed, are added, return, or move."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from sid_jax.append.batch import Batch
from sid_jax.append.published import Published, raw_codes
from sid_jax.data.id_lists import dropped, likely_cause
from sid_jax.errors import UserError, and_more
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.convert import places
from sid_jax.ids.matching import first_in_group
from sid_jax.ids.relocate import tuple_keys
from sid_jax.ids.table import IdTable, joined
from sid_jax.ids.unique import extend_ids
from sid_jax.messages import LOGGER

ON_KNOWN, ON_RETURNED = ("keep", "move", "error"), ("accept", "error")


@dataclasses.dataclass(frozen=True)
class Policy:
    """How to treat items that have, or had, an ID.

    Attributes:
      reuse_removed: whether the IDs of removed items, and the former IDs of moved items, may be given to other items.
      on_known: for input items that have an ID. "keep" keeps the ID, even if the item's vector has changed. "move"
        gives a new ID to each item whose codes have changed, and reserves the old ID. "error" rejects items that have
        an ID.
      on_returned: for input items that were removed earlier. "accept" gives them their old ID. "error" rejects them.
        It protects against an input that is an old file.
      on_unknown: for items to remove that were never in the catalog. "error" rejects them. "drop" ignores them, with a
        warning that states their number.

    Raises:
      UserError: if a value is not one of these options.
    """

    reuse_removed: bool = False
    on_known: str = "keep"
    on_returned: str = "accept"
    on_unknown: str = "error"

    def __post_init__(self) -> None:
        """Checks the values."""
        for name, words in (("on_known", ON_KNOWN), ("on_returned", ON_RETURNED)):
            if getattr(self, name) not in words:
                raise UserError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(words)}")
        dropped(self.on_unknown)


@dataclasses.dataclass(frozen=True, eq=False)
class Version:
    """The items of a new version, and the changes since the previous version.

    Attributes:
      items: the remaining items in the order of the previous version; then added and returned items, sorted by id.
      new: the items of the batch that were never in the catalog.
      added: `[n]`, the rows of the new items in `items`.
      known: the known and returned items, that is, the items of the batch that are in the previous version or were in
        an earlier one.
      known_rows: `[k]`, the rows in `items` of the items in `known`.
      retired: removed items. An item that returns gets its old ID.
      removed_in: `[R]` int32, for each retired item, the first version without it.
      former: former IDs of moved items, one row per move.
      moved_in: `[F]` int32, for each former ID, the version in which its item moved.
      counts: the manifest's counts, such as the numbers of kept, added, removed, returned and moved items.
    """

    items: IdTable
    new: Batch
    added: np.ndarray
    known: Batch
    known_rows: np.ndarray
    retired: IdTable
    removed_in: np.ndarray
    former: IdTable
    moved_in: np.ndarray
    counts: dict[str, int]


def next_version(published: Published, batch: Batch, removed: pa.ChunkedArray, where: str, policy: Policy) -> Version:
    """Returns the version that follows a published version.

    Args:
      published: the previous version.
      batch: items of the input. An item that is also to be removed, and is not in the export, is ignored.
      removed: distinct ids of the items to remove; may include items that were removed before.
      where: name of the list of removed items, for error messages.
      policy: how to treat items that have, or had, an ID.

    Raises:
      UserError: if an item of the export is both in the batch and to be removed; if the policy rejects an item; if no
        item would be left; or if there are not enough free IDs.
    """
    removed = _known_removals(published, batch, removed, where, policy)
    gone_again = (places(batch.ids, removed) >= 0) & (places(batch.ids, published.items.arrow_ids) < 0)
    kept = _kept(published, batch, removed, where)
    batch = batch.rows(np.flatnonzero(~gone_again)) if gone_again.any() else batch
    # For each item of the batch, `returns` is its row in the table of retired items, and `known` is its row in the
    # table of published items. The value is -1 for an item that is not in the table.
    returns, known = places(batch.ids, published.retired.arrow_ids), places(batch.ids, published.items.arrow_ids)
    _refuse_by_policy(published, batch, known, returns, policy)
    returning, coming = np.flatnonzero(returns >= 0), np.flatnonzero((returns < 0) & (known < 0))
    there = np.flatnonzero(known >= 0)
    # Without removals, the table is not copied, since it may have millions of rows.
    staying = published.items if kept.all() else published.items.take(kept)
    leaving, back = published.items.take(~kept), published.retired.take(returns[returning])
    rows = (np.cumsum(kept) - 1)[known[there]]
    values = batch.columns(published.items.columns.schema)
    staying, num_updated = _with_columns(staying, rows, values, there)
    back, num_updated_back = _with_columns(back, np.arange(len(back)), values, returning)

    away = np.ones(len(published.retired), bool)
    away[returns[returning]] = False
    retired = joined([published.retired.take(away), leaving])
    gone = np.full(len(leaving), published.number + 1, np.int32)
    removed_in = np.concatenate([published.removed_in[away], gone])

    # `had` consists of the staying and the returning items. Some of these items are also in the batch: `placed` has
    # their rows in `had`, and `of_batch` has their rows in the batch.
    had, placed = joined([staying, back]), np.concatenate([rows, len(staying) + np.arange(len(back))])
    of_batch = np.concatenate([there, returning])
    changed = (raw_codes(had)[placed] != batch.codes[of_batch]).any(axis=1)
    moving = np.flatnonzero(changed) if policy.on_known == "move" else np.empty(0, np.int64)
    given_up = had.take(placed[moving])
    former = joined([published.former, given_up.replace(columns=None, check=False)])
    moved_in = np.concatenate([published.moved_in, np.full(len(moving), published.number + 1, np.int32)])

    order = np.argsort(np.concatenate([of_batch[moving], coming]), kind="stable")
    placing = batch.rows(np.concatenate([of_batch[moving], coming])[order])
    stays = np.ones(len(had), bool)
    stays[placed[moving]] = False
    semantic_ids = np.empty((len(order), had.semantic_ids.shape[1]), np.int32)
    semantic_ids[order] = _new_ids(published, placing, had.semantic_ids[stays], _given(retired, former), policy)
    had = _with_ids(had, placed[moving], semantic_ids[: len(moving)], batch.codes[of_batch[moving]])
    come = batch.rows(coming)
    new = had.replace(
        item_ids=come.ids,
        semantic_ids=semantic_ids[len(moving) :],
        codes=come.codes.astype(np.int32),
        columns=values.take(pa.array(coming)) if values.column_names else None,
        check=False,
    )
    # Returned items are sorted by id, together with the new items.
    order = np.argsort(np.concatenate([returning, coming]), kind="stable")
    after = joined([had.take(np.arange(len(staying), len(had))), new]).take(order)
    items = joined([had.take(np.arange(len(staying))) if len(back) else had, after])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    if policy.reuse_removed:
        free = _still_free(published, items, _given(retired, former))
        free_retired, free_former = free[: len(retired)], free[len(retired) :]
        retired, removed_in = retired.take(free_retired), removed_in[free_retired]
        former, moved_in = former.take(free_former), moved_in[free_former]
    sizes = list(published.sizes)
    if published.scheme == "suffix":
        sizes[-1] = max(sizes[-1], int(items.semantic_ids[:, -1].max(initial=0)) + 1)
    counts = {
        "kept": len(staying),
        "already_there": len(there),
        "added": len(coming),
        "removed": len(leaving),
        "returned": len(returning),
        "came_and_went": int(gone_again.sum()),
        "changed": int(changed.sum()),
        "columns_updated": num_updated + num_updated_back,
        "moved": _count_moved(published.items, items),
        "retired": len(retired),
    }
    return Version(
        items=items.replace(sizes=sizes),
        new=come,
        added=len(staying) + place[len(back) :],
        known=batch.rows(of_batch),
        known_rows=np.concatenate([rows, len(staying) + place[: len(back)]]),
        retired=retired.replace(sizes=sizes),
        removed_in=removed_in,
        former=former.replace(sizes=sizes),
        moved_in=moved_in,
        counts=counts,
    )


def _known_removals(
    published: Published, batch: Batch, removed: pa.ChunkedArray, where: str, policy: Policy
) -> pa.ChunkedArray:
    """Returns the items to remove that are or were in the catalog, or are in the batch.

    Other items to remove are rejected, or dropped with a warning, as `policy.on_unknown` says.
    """
    among = (published.ids, published.retired.arrow_ids, batch.ids)
    unknown = np.all([places(removed, ids) < 0 for ids in among], axis=0)
    if not unknown.any():
        return removed
    names = removed.filter(pa.array(unknown))
    first = f"item {names[0].as_py()!r}{and_more(len(names) - 1)} is not in the export"
    found = places(removed, published.ids)
    remedy = "list ids that the export has"
    cause = likely_cause(list(map(str, names.to_pylist())), found[found >= 0], published.items.item_ids, remedy)
    if not dropped(policy.on_unknown):
        option = "--on_unknown=drop" if batch.where.startswith("--") else 'on_unknown="drop"'
        raise UserError(f"{where}: {first}: {cause or f'remove it from the list, or ignore it ({option})'}")
    counted = f"{len(names):,} of {len(removed):,} items are unknown and were dropped"
    LOGGER.warning("%s: item %r is not in the export; %s%s", where, names[0].as_py(), counted, cause and f"; {cause}")
    return removed.filter(pa.array(~unknown))


def _kept(published: Published, batch: Batch, removed: pa.ChunkedArray, where: str) -> np.ndarray:
    """Returns the mask `[N]` bool of the published items that stay."""
    there, of_batch = published.items.arrow_ids, places(removed, batch.ids)
    leaving = places(removed, there)
    words = f"{where}: {{}} is also in {batch.where}; remove it from one of the two"
    _refuse(removed, (leaving >= 0) & (of_batch >= 0), words)
    kept = np.ones(len(there), bool)
    kept[leaving[leaving >= 0]] = False
    if not kept.any() and (of_batch >= 0).sum() == len(batch):
        raise UserError(f"{where}: lists every item, so the version would have no items; remove some ids from the list")
    return kept


def _refuse_by_policy(
    published: Published, batch: Batch, known: np.ndarray, returns: np.ndarray, policy: Policy
) -> None:
    flag = "--" * batch.where.startswith("--")
    if policy.on_known == "error":
        words = (
            f"{{}} is already in the export; remove it from the input, or set {flag}on_known=keep or "
            f"{flag}on_known=move"
        )
        _refuse(batch.ids, known >= 0, f"{batch.where}: {words}")
    if policy.on_returned == "error" and (returns >= 0).any():
        versions = sorted(set(published.removed_in[returns[returns >= 0]].tolist()))
        words = (
            f"{{}} was removed earlier (in version {', '.join(map(str, versions))}); check that the input is not an "
            f"old file, or set {flag}on_returned=accept to give such items their old IDs"
        )
        _refuse(batch.ids, returns >= 0, f"{batch.where}: {words}")


def _refuse(ids: pa.ChunkedArray, wrong: np.ndarray, words: str) -> None:
    if wrong.any():
        first = ids[int(np.flatnonzero(wrong)[0])].as_py()
        raise UserError(words.replace("{}", f"item {first!r}{and_more(int(wrong.sum()) - 1)}", 1))


def _with_columns(table: IdTable, rows: np.ndarray, values: pa.Table, chosen: np.ndarray) -> tuple[IdTable, int]:
    """Returns a table with new values in its columns, and the number of rows that changed.

    A null is an unknown value, and does not replace an old value.

    Args:
      table: N items.
      rows: `[k]`, the rows to update.
      values: new values, in columns with the names and types of the table's columns.
      chosen: `[k]`, the row of `values` for each row to update.
    """
    columns, updated = table.columns, np.zeros(len(rows), bool)
    for position, name in enumerate(columns.column_names if len(rows) else ()):
        new, old = values[name].take(pa.array(chosen)), columns[name].take(pa.array(rows))
        differs = [each is not None and each != was for each, was in zip(new.to_pylist(), old.to_pylist(), strict=True)]
        where = np.flatnonzero(differs)
        if len(where):
            source = np.arange(len(table))
            source[rows[where]] = len(table) + where
            both = pa.chunked_array([*columns[name].chunks, *new.chunks], new.type).unify_dictionaries()
            columns = columns.set_column(position, columns.schema.field(name), both.take(pa.array(source)))
            updated[where] = True
    return (table.replace(columns=columns) if updated.any() else table), int(updated.sum())


def _with_ids(table: IdTable, rows: np.ndarray, semantic_ids: np.ndarray, codes: np.ndarray) -> IdTable:
    """Returns a table with new Semantic IDs `[k, L']` and codes `[k, L]` in the rows `[k]`; L' includes the suffix."""
    if not len(rows):
        return table
    all_ids, all_codes = table.semantic_ids.copy(), raw_codes(table).copy()
    all_ids[rows], all_codes[rows] = semantic_ids, codes
    return table.replace(semantic_ids=all_ids, codes=all_codes, check=False)


def _given(retired: IdTable, former: IdTable) -> np.ndarray:
    """Returns the Semantic IDs of retired items and the former IDs of moved items, `[R + F, L']`."""
    return np.concatenate([retired.semantic_ids, former.semantic_ids])


def _new_ids(published: Published, batch: Batch, in_use: np.ndarray, kept: np.ndarray, policy: Policy) -> np.ndarray:
    """Returns free Semantic IDs for a batch. The IDs `kept` are free only if `policy.reuse_removed` is set."""
    levels = published.export.model.quantizer.codebook_sizes
    return extend_ids(
        published.scheme,
        batch.codes,
        # Row numbers serve as ids, since only the order of the ids matters, and the rows are sorted by id.
        np.arange(len(batch)),
        levels,
        CodeAlternatives.of_vectors(published.export.model, batch.vectors),
        in_use if policy.reuse_removed else np.concatenate([in_use, kept]),
        capacity=published.capacity,
        reusable=kept if policy.reuse_removed else None,
    )


def _still_free(published: Published, items: IdTable, kept: np.ndarray) -> np.ndarray:
    """Returns a mask `[n]` bool of the IDs `kept`, `[n, L']`, that stay reserved because no item has taken them.

    Several reserved IDs may be equal. Of these, only the most recent stay reserved, at most as many as the capacity
    minus the number of items that have this ID.
    """
    if published.scheme == "none":
        return np.ones(len(kept), bool)
    sizes = (*published.export.model.quantizer.codebook_sizes, 2**31)[: kept.shape[1]]
    keys, has = tuple_keys(kept, sizes), np.sort(tuple_keys(items.semantic_ids, sizes))
    capacity = published.capacity if published.scheme == "relocate" else 1
    room = capacity - (np.searchsorted(has, keys, "right") - np.searchsorted(has, keys))
    newest = -np.arange(len(keys))
    return first_in_group(keys, np.zeros(len(keys)), newest, np.maximum(room, 0))


def _count_moved(before: IdTable, after: IdTable) -> int:
    """Returns the number of items in both tables that have different Semantic IDs."""
    rows = places(before.arrow_ids, after.arrow_ids)
    there = rows >= 0
    return int((before.semantic_ids[there] != after.semantic_ids[rows[there]]).any(axis=1).sum())
