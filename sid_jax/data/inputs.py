"""Converts vectors, items and histories, given in memory or as paths, to the `VectorSet` that training reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from ml_collections import ConfigDict

from sid_jax.data.arrays import as_ids, as_ordered_ids, as_table, as_vectors, ids_in_index, is_table
from sid_jax.data.bad_rows import finite_items
from sid_jax.data.histories import Histories
from sid_jax.data.history_files import HistoryFile
from sid_jax.data.id_lists import UNKNOWN_OPTION, catalog_rows, check_cold, check_unique, known_items, read_item_list
from sid_jax.data.join_parts import are_parts, set_of_parts
from sid_jax.data.make_histories import histories_of_lists, histories_of_table, in_catalog
from sid_jax.data.parts.files import read_ids
from sid_jax.data.tables import exported_column
from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError, shown
from sid_jax.paths import as_path

USER_COLUMN, ITEM_COLUMN, TIME_COLUMN = "user_id", "item_id", "timestamp"
_DROPPING = 'on_unknown="drop"'


def vector_set(
    vectors: Any,
    item_ids: Any = None,
    *,
    columns: Any = None,
    histories: Any = None,
    cold: Any = None,
    settings: ConfigDict,
    weights: Mapping[str, float] | None = None,
    on_unknown: str = "error",
    with_partners: bool = False,
    with_collaborative: bool = False,
    resident_bytes: int | None = None,
    bad_rows_option: str = "",
) -> VectorSet:
    """Returns N items and their vectors, as `data.load.load_vectors` does for files with the same content.

    Args:
      vectors: anything that `arrays.as_vectors` accepts; a table with the columns that `settings.vector_column` and
        `settings.id_column` name; a mapping of item ids to vectors; a mapping of names to parts, see
        `join_parts.set_of_parts`; or a path, see `settings.path`. Float32 arrays are not copied, so they must not
        change while they are in use.
      item_ids: anything that `arrays.as_ids` accepts, or a path, see `settings.ids_path`. None takes the ids that come
        with the vectors, or the row numbers if no ids come with them.
      columns: additional columns of the items, as a table that `arrays.as_table` accepts. The table has one row per
        item, in the order of the items, or in any order if it has a column `settings.id_column`. If `vectors` is a
        path, `columns` may also be names of columns of the files, see `settings.columns`.
      histories: interaction histories, see `as_histories`, for IDs that also depend on co-occurrence; None for the
        histories that `settings.histories` names.
      cold: items that are excluded from training: `[N]` bool, item ids, or a path, see `settings.cold_items`.
      settings: the `data` section of a config. An argument takes precedence over the setting for the same input. If the
        section names a catalog, `vectors` also replaces the parts and histories of this catalog. With
        `on_bad_rows="drop"`, rows that are not finite are dropped, and so are their ids and their rows of `columns` and
        `cold`.
      weights: weights of parts, by name.
      on_unknown: see `as_histories`.
      with_partners, with_collaborative, resident_bytes: see `data.load.load_vectors`.
      bad_rows_option: the option that drops rows with NaN or infinite values, for error messages.

    Raises:
      UserError: if an argument has an unsupported form, an id occurs twice, lengths differ, or a value is not finite.
    """
    from sid_jax.data.load import with_histories  # `load` is imported here, since it imports JAX.
    from sid_jax.data.named_parts import add_parts

    from_path = isinstance(vectors, (str, Path))
    if isinstance(columns, (str, list, tuple)) and all(isinstance(name, str) for name in columns):
        settings, columns = _with_named_columns(settings, columns, from_path), None
    if from_path:
        data = _from_path(vectors, item_ids, settings, resident_bytes, bad_rows_option)
    elif are_parts(vectors):
        data = set_of_parts(vectors, item_ids, weights, settings, bad_rows_option)
    else:
        data = _in_memory(vectors, item_ids, settings)
    if weights and not are_parts(vectors):
        raise UserError(
            "weights need named parts; give vectors as a mapping of names to parts, such as {'text': X, 'image': Y}"
        )
    if columns is not None:
        data = dataclasses.replace(data, columns=_columns(columns, data, settings.id_column))
    if cold is None and settings.cold_items:
        cold = settings.cold_items
    if cold is not None:
        data = dataclasses.replace(data, cold=_cold(cold, data, settings.on_unknown))
    of_catalog = settings.source != "vectors"
    if settings.parts and not are_parts(vectors) and not of_catalog:
        data = add_parts(data, settings, bad_rows_option)
    if not from_path or data.layout is not None:
        data = finite_items(data, settings.on_bad_rows, bad_rows_option)
    if histories is None and (settings.histories.source == "none" or settings.histories.source == settings.source):
        return data
    source = ""
    if histories is not None:
        source = str(histories) if isinstance(histories, (str, Path)) else "histories in memory"
        histories = as_histories(
            histories,
            data.ids,
            on_unknown=on_unknown,
            user_column=settings.histories.user_column,
            item_column=settings.histories.item_column,
            time_column=settings.histories.time_column,
        )
    return with_histories(
        data,
        histories,
        settings,
        source=source,
        with_partners=with_partners,
        with_collaborative=with_collaborative,
    )


def as_histories(
    histories: Any,
    item_ids: np.ndarray,
    *,
    on_unknown: str = "error",
    user_column: str = USER_COLUMN,
    item_column: str = ITEM_COLUMN,
    time_column: str = TIME_COLUMN,
) -> Histories:
    """Returns the interaction histories over the items of a catalog, in time order.

    Args:
      histories: a sequence with one list of item ids per user, the oldest item first (a user's id is the position of
        the list); a mapping of user ids to such lists; an Arrow or pandas table with one row per interaction, in any
        order; `Histories` over any catalog; the path of a file, see `history_files.read_histories`; or a
        `HistoryFile`, which also names the columns.
      item_ids: `[N]` ids of the catalog, int64 or object (str). Ids of the histories and of the catalog are compared as
        text.
      on_unknown: how items that are not in the catalog are treated: "error" rejects them, "drop" (or "skip") drops them
        and counts them in `Histories.num_unknown`.
      user_column, item_column, time_column: columns of tables. If a table in memory lacks the default `time_column` and
        no other column holds times, its rows are assumed to be in time order.

    Raises:
      UserError: if the histories have an unsupported form, a value is null, or an item is not in the catalog.
    """
    names = (user_column, item_column, time_column)
    if isinstance(histories, (str, Path)):
        histories = HistoryFile(histories, *names)
    if isinstance(histories, HistoryFile):
        return histories.read(item_ids, on_unknown)
    if isinstance(histories, Histories):
        return in_catalog(histories, item_ids, "histories: item", on_unknown, _DROPPING)
    if is_table(histories):
        return _of_table(histories, item_ids, names, on_unknown)
    if isinstance(histories, Mapping):
        users, lists = as_ids(list(histories), "histories: the users"), list(histories.values())
        return histories_of_lists(users, lists, item_ids, on_unknown, "histories", _DROPPING)
    if not isinstance(histories, Sequence) and not hasattr(histories, "__array__"):
        raise UserError(
            f"histories: found {type(histories).__name__}; give a list of lists of item ids, a dict from users to "
            "such lists, a table with one row per interaction, or a path"
        )
    users, lists = np.arange(len(histories)), list(histories)
    return histories_of_lists(users, lists, item_ids, on_unknown, "histories", _DROPPING)


def _from_path(
    path: Any, item_ids: Any, settings: ConfigDict, resident_bytes: int | None, bad_rows_option: str
) -> VectorSet:
    """Returns the vectors at a path, read like `data.path` of a config; ids may be an array or a separate path."""
    from sid_jax.data.load import load_items

    named = {"source": "vectors", "path": str(path)}
    if isinstance(item_ids, (str, Path)):
        named["ids_path"] = str(item_ids)
    own = settings.copy_and_resolve_references()
    own.update(named)
    data = load_items(own, resident_bytes, bad_rows_option)
    if item_ids is None or isinstance(item_ids, (str, Path)):
        return data
    ids = _ids(item_ids, _num_rows(data))
    return dataclasses.replace(data, ids=np.delete(ids, data.left_out.rows))


def _with_named_columns(settings: ConfigDict, names: str | Sequence[str], from_path: bool) -> ConfigDict:
    """Returns the `data` section with `columns` set to names of columns of the files of vectors."""
    if not from_path:
        raise UserError(
            "columns can be names only if vectors is a single path; give the columns with their values, as in "
            "columns={'title': titles}"
        )
    settings = settings.copy_and_resolve_references()
    settings.columns = names if isinstance(names, str) else ",".join(names)
    return settings


def _num_rows(data: VectorSet) -> int:
    """Returns the number of all rows, including the rows of a file that were dropped when it was read."""
    return len(data.ids) + data.left_out.num_rows


def _in_memory(vectors: Any, item_ids: Any, settings: ConfigDict) -> VectorSet:
    if is_table(vectors):
        vectors, item_ids = _columns_of_table(vectors, item_ids, settings)
    elif isinstance(vectors, Mapping):
        if item_ids is not None:
            raise UserError("vectors: the mapping from item ids to vectors already has the ids; omit item_ids")
        vectors, item_ids = list(vectors.values()), list(vectors)
    found = as_vectors(vectors, "vectors")
    return VectorSet(ids=_ids(item_ids, len(found)), vectors=found, source="vectors in memory")


def _columns_of_table(table: Any, item_ids: Any, settings: ConfigDict) -> tuple[Any, Any]:
    """Returns the vectors and the ids of a table.

    The vectors are the table's column of vectors, or the table itself if it has no such column.
    """
    names = list(table.schema.names if isinstance(table, (pa.Table, pa.RecordBatch)) else table.columns)
    if item_ids is None:
        item_ids = ids_in_index(table, settings.id_column)
    if item_ids is None and settings.id_column in names:
        item_ids = table[settings.id_column]
        if settings.vector_column not in names:
            raise UserError(
                f"vectors: the table has a column {settings.id_column!r} but no column {settings.vector_column!r} of "
                "lists; pass vectors and item_ids as separate arguments, or set the setting data.vector_column"
            )
    return table[settings.vector_column] if settings.vector_column in names else table, item_ids


def _ids(item_ids: Any, count: int) -> np.ndarray:
    if item_ids is None:
        return np.arange(count)
    if isinstance(item_ids, (str, Path)):
        ids = read_ids(as_path(item_ids), count, "vectors")
    else:
        ids = as_ordered_ids(item_ids, "item_ids")
    if len(ids) != count:
        raise UserError(f"item_ids: {len(ids)} ids, but {count} vectors; give one id per vector")
    check_unique(ids, "item_ids")
    return ids


def _columns(columns: Any, data: VectorSet, id_column: str) -> dict[str, pa.ChunkedArray]:
    """Returns the additional columns, with their rows in the order of the items."""
    ids, count = data.ids, _num_rows(data)
    table, index = as_table(columns, "columns"), ids_in_index(columns, id_column)
    if index is not None and (index.name == id_column or set(index) >= set(ids.tolist())):
        table = as_table({id_column: index, **{name: table[name] for name in table.column_names}}, "columns")
    if id_column in table.column_names:
        rows = catalog_rows(map(str, ids.tolist()), _column_ids(table, id_column))
        if (rows < 0).any():
            missing = ids[int(np.argmax(rows < 0))]
            raise UserError(
                f"columns: {int((rows < 0).sum())} of {len(ids)} items are not in column {id_column!r} (the first one "
                f"is {shown(missing)}); give one row per item"
            )
        table = table.drop_columns([id_column]).take(pa.array(rows))
    elif len(table) != count:
        raise UserError(
            f"columns: {len(table)} rows, but {count} items; give one row per item, or ids in a column {id_column!r}"
        )
    elif data.left_out.num_rows:
        table = table.take(pa.array(np.delete(np.arange(count), data.left_out.rows)))
    return {name: exported_column(table[name]) for name in table.column_names}


def _column_ids(table: pa.Table, id_column: str) -> np.ndarray:
    where = f"columns: column {id_column!r}"
    ids = as_ids(table[id_column], where)
    check_unique(ids, where)
    return ids


def _cold(cold: Any, data: VectorSet, on_unknown: str) -> np.ndarray | None:
    """Returns a mask `[N]` bool of the items that are excluded from training; None if there are none."""
    ids, count = data.ids, _num_rows(data)
    if isinstance(cold, (str, Path)):
        return check_cold(read_item_list(as_path(cold), ids, on_unknown, UNKNOWN_OPTION), str(cold))
    mask = np.asarray(cold)
    if mask.dtype == bool:
        if mask.shape != (count,):
            raise UserError(
                f"cold: the mask has shape {list(mask.shape)}, but there are {count} items; give one value per item"
            )
        mask = np.delete(mask, data.left_out.rows)
        return check_cold(mask, "cold") if mask.any() else None
    names = as_ids(cold, "cold")
    rows = catalog_rows(map(str, names.tolist()), ids)
    texts = names.tolist()
    known = known_items(rows, ids, on_unknown, lambda place: f"cold: item {shown(texts[place])}", texts, UNKNOWN_OPTION)
    found = np.zeros(len(ids), bool)
    found[rows[known]] = True
    return check_cold(found, "cold") if found.any() else None


def _of_table(histories: Any, item_ids: np.ndarray, names: tuple[str, str, str], on_unknown: str) -> Histories:
    table = as_table(histories, "histories")
    user_column, item_column, time_column = names
    there = table.column_names
    if len(set(names)) < len(names):
        raise UserError(f"histories: users, items and times must be in different columns, not {', '.join(names)}")
    for name in names[:2] if time_column == TIME_COLUMN else names:
        if name not in there:
            raise UserError(f"histories: no column {name!r}; the columns are {', '.join(there)}")
    timed = time_column if time_column in there else None
    times = [field.name for field in table.schema if pa.types.is_temporal(field.type)]
    if timed is None and times:
        raise UserError(
            f"histories: there is no column {time_column!r}, but {times[0]!r} has times; set time_column to the column "
            "of times"
        )
    return histories_of_table(
        table, item_ids, user_column, item_column, timed, where="histories", on_unknown=on_unknown, option=_DROPPING
    )
