"""Converts item ids, Semantic IDs and columns between Python, NumPy and Arrow."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.data.arrow_columns import integers_or_text
from sid_jax.errors import UserError, shown

# A Semantic ID or a prefix of one: numbers, or text such as "12-4-91-0".
Codes: TypeAlias = Sequence[int] | np.ndarray | str
Item: TypeAlias = int | str
# Several items, or several Semantic IDs.
Many: TypeAlias = list[Any] | np.ndarray


def arrow_ids(item_ids: Any) -> pa.ChunkedArray:
    """Returns item ids `[N]`, integers or text in any container, as an Arrow array of int64 or string.

    Raises:
      UserError: if the ids are neither all integers nor all text, or one is null.
    """
    try:
        ids = item_ids if isinstance(item_ids, (pa.Array, pa.ChunkedArray)) else pa.array(item_ids)
        ids = pa.chunked_array([ids]) if isinstance(ids, pa.Array) else ids
        if not len(ids) and pa.types.is_null(ids.type):
            return ids.cast(pa.string())
        if not pa.types.is_floating(ids.type):
            ids = integers_or_text(ids, "item ids")
            return ids.cast(pa.int64() if pa.types.is_integer(ids.type) else pa.string())
    except pa.ArrowException as error:
        raise UserError(
            f"item ids must all be whole numbers or all be text ({' '.join(str(error).split())})"
        ) from error
    raise UserError(f"item ids must all be whole numbers or all be text, not {ids.type}")


def is_text(kind: pa.DataType) -> bool:
    """Returns whether an Arrow type is string or large_string."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Mixes the bits of uint64 numbers with the finalizer of SplitMix64 (Steele et al., 2014), a bijection."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(31))


def comparable(one: Any, other: Any) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Converts two arrays of item ids to the same type: integers if both are integers, else text."""
    one, other = arrow_ids(one), arrow_ids(other)
    return (one, other) if one.type == other.type else (one.cast(pa.string()), other.cast(pa.string()))


def common_rows(one: Any, other: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of the common items in two arrays of item ids, `[n]` each, in the order of the first array."""
    found = places(*comparable(one, other))
    rows = np.flatnonzero(found >= 0)
    return rows, found[rows]


def places(ids: pa.ChunkedArray, among: pa.ChunkedArray) -> np.ndarray:
    """Returns the index of each id `[n]` in another array of the same type: `[n]` int64, -1 for a missing id."""
    return numbers_of(pc.fill_null(pc.index_in(ids, value_set=among), -1)).astype(np.int64)


def numbers_of(values: pa.ChunkedArray) -> np.ndarray:
    """Converts numbers without nulls to a read-only NumPy array `[N]`.

    The method `to_numpy` of Arrow is not used, since it imports pandas.
    """
    return np.from_dlpack(values.combine_chunks())


def code_type(sizes: Sequence[int]) -> np.dtype:
    """Returns the smallest unsigned dtype for the codes of levels with these sizes K."""
    return np.min_scalar_type(max(sizes) - 1)


def sid_text(semantic_ids: np.ndarray | Sequence[Sequence[int]]) -> np.ndarray:
    """Formats Semantic IDs `[N, L]` as text such as "12-4-91-0"; returns `[N]` object (str)."""
    rows = semantic_ids.tolist() if isinstance(semantic_ids, np.ndarray) else semantic_ids
    return np.array(["-".join(map(str, row)) for row in rows], dtype=object)


def parse_sid(text: str) -> tuple[int, ...]:
    """Parses one Semantic ID or prefix, written as `sid_text` writes it; an empty text is the empty prefix.

    Raises:
      UserError: if the text is not numbers separated by hyphens.
    """
    parts = text.split("-") if text else []
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"{text!r} is not a Semantic ID; write numbers separated by hyphens, as in 12-4-91")
    return tuple(map(int, parts))


def parse_semantic_id(semantic_id: Codes) -> tuple[int, ...]:
    """Converts one Semantic ID or prefix to a tuple of integers.

    Raises:
      UserError: if `semantic_id` is neither text such as "12-4-91" nor a sequence of integers.
    """
    if isinstance(semantic_id, str):
        return parse_sid(semantic_id)
    try:
        return tuple(map(operator.index, semantic_id))
    except TypeError as error:
        raise UserError(
            f'{semantic_id!r} is not a Semantic ID; give whole numbers, as in (12, 4, 91) or "12-4-91"'
        ) from error


def parse_semantic_ids(semantic_ids: Codes | Many) -> np.ndarray | None:
    """Converts several Semantic IDs to `[n, L]` int64; returns None if the argument is a single ID.

    Raises:
      UserError: if the IDs are not numbers, or differ in length.
    """
    if isinstance(semantic_ids, str) or not hasattr(semantic_ids, "__len__") or not len(semantic_ids):
        several = isinstance(semantic_ids, np.ndarray) and semantic_ids.ndim == 2
        return np.asarray(semantic_ids, np.int64) if several else None
    first = semantic_ids[0]
    if isinstance(first, (int, float, np.generic)) and not isinstance(first, str):
        return None
    if isinstance(first, str):
        return _parse_sids(pa.array(semantic_ids, pa.string()))
    try:
        return np.asarray(semantic_ids, np.int64)
    except ValueError as error:
        raise UserError(
            "some Semantic IDs are not whole numbers, or differ in length; give an array [n, L] of whole numbers"
        ) from error


def _parse_sids(texts: pa.Array) -> np.ndarray:
    right = pc.match_substring_regex(texts, "^[0-9]{1,18}(-[0-9]{1,18})*$")
    if not pc.all(right).as_py():
        parse_sid(texts.filter(pc.invert(right))[0].as_py() or "-")
    lists = pc.split_pattern(texts, "-")
    lengths = pc.list_value_length(lists).to_numpy()
    uneven = np.flatnonzero(lengths != lengths[0])
    if len(uneven):
        raise UserError(
            f"{texts[int(uneven[0])]} has {lengths[uneven[0]]} codes, but {texts[0]} has {lengths[0]}; give Semantic "
            "IDs of the same length"
        )
    return lists.flatten().cast(pa.int64()).to_numpy().reshape(len(lists), -1)


def number_lists(rows: np.ndarray) -> pa.ListArray:
    """Converts `[N, L]` integers to an Arrow array with one list per row."""
    offsets = pa.array(np.arange(len(rows) + 1) * rows.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(rows.ravel()))


def arrow_text(semantic_ids: np.ndarray) -> pa.Array:
    """Formats Semantic IDs like `sid_text`, but returns an Arrow array."""
    levels = [pa.array(np.ascontiguousarray(level)).cast(pa.string()) for level in semantic_ids.T]
    return pc.binary_join_element_wise(*levels, "-")


def columns_table(columns: pa.Table | Mapping[str, Any] | None, num_rows: int, taken: Sequence[str]) -> pa.Table:
    """Converts columns `[N]` by name, in any container, to one Arrow table; `taken` are reserved names.

    Raises:
      ValueError: if the columns do not have `num_rows` rows, N.
      UserError: if a name is reserved or repeated, if columns differ in length, or if the values of a column have no
        common type.
    """
    columns = {} if columns is None else columns
    names = columns.column_names if isinstance(columns, pa.Table) else list(columns)
    for number, name in enumerate(names):
        if name in (*taken, *names[:number]):
            raise UserError(f"two columns of the ID table would have the name {name!r}; rename the column in your data")
    if isinstance(columns, pa.Table):
        table = columns
    else:
        given = {name: _column(name, values) for name, values in columns.items()}
        lengths = {name: len(values) for name, values in given.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"columns differ in length ({lengths}); give one value per item in each column")
        table = pa.table(given)
    if names and len(table) != num_rows:
        raise ValueError(f"columns have {len(table)} rows, but the ID table has {num_rows}; give one row per item")
    return table


def matched_columns(given: Any, ids: pa.ChunkedArray, id_name: str, id_column: str | None) -> dict[str, Any]:
    """Returns columns by name, matched to the item ids `[N]`; null for an item that is not in `given`.

    `given` is the argument of `sid_jax.ids.table.IdTable.with_columns`; `id_name` is the table's column of item ids.

    Raises:
      UserError: see `IdTable.with_columns`.
    """
    if isinstance(given, Mapping) and all(isinstance(values, Mapping) for values in given.values()):
        return {
            name: _matched(
                _column(name, list(values.values())), arrow_ids(list(values)), ids, f"column {name!r}", id_name
            )
            for name, values in given.items()
        }
    if not isinstance(given, (pa.Table, Mapping)):
        if not hasattr(given, "columns"):
            raise UserError(
                f"the columns of items must be an Arrow table, a DataFrame or a mapping, not {shown(given)}"
            )
        given = pa.Table.from_pandas(given)
    table = columns_table(given, len(next(iter(given.values()))) if isinstance(given, Mapping) else len(given), ())
    names = table.column_names
    key = id_column or (id_name if id_name in names else names[0])
    if key not in names:
        raise UserError(f"no column {key!r} with item ids; the columns are {', '.join(names)}")
    if len(names) == 1:
        raise UserError(f"the only column, {key!r}, has the item ids; give further columns, such as title")
    keys = arrow_ids(table[key])
    return {name: _matched(table[name], keys, ids, f"column {key!r}", id_name) for name in names if name != key}


def _matched(
    values: pa.ChunkedArray | pa.Array, keys: pa.ChunkedArray, ids: pa.ChunkedArray, where: str, id_name: str
) -> pa.ChunkedArray:
    """Returns the values of the items `ids`; `keys` are the ids of `values`. An item without a value gets null."""
    if pc.count_distinct(keys).as_py() < len(keys):
        counts = pc.value_counts(keys)
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0]
        raise UserError(f"the columns have item {twice.as_py()!r} more than once; give one row per item")
    have, wanted = comparable(keys, ids)
    rows = pc.index_in(wanted, value_set=have)
    if len(ids) and not len(keys):
        raise UserError(f"the {where} has no values; give a value for at least one item")
    if len(ids) and rows.null_count == len(ids):
        raise UserError(
            f"no item id of the {where}, such as {shown(keys[0].as_py())}, is in the ID table, "
            f"which has items such as {shown(ids[0].as_py())}; give the ids of the ID table in the first column, or in "
            f"the column {id_name}"
        )
    found = values.take(rows)
    return pa.chunked_array([found]) if isinstance(found, pa.Array) else found


def _column(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise UserError(f"column {name!r} cannot be written to a table ({reason}); give values of one type") from error
