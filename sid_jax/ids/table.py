"""The ID table: items, their Semantic IDs and further columns, with look-ups in both directions.

This module needs only NumPy and Arrow. A table that is made with `check=False` builds its indices at the first look-up.
"""

from __future__ import annotations

import functools
import hashlib
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa

from sid_jax.data.id_lists import check_unique, likely_cause
from sid_jax.data.vector_set import OWN_COLUMNS
from sid_jax.errors import UserError
from sid_jax.ids.convert import (
    Codes,
    Item,
    Many,
    arrow_ids,
    arrow_text,
    columns_table,
    comparable,
    is_text,
    matched_columns,
    number_lists,
    numbers_of,
    parse_semantic_id,
    parse_semantic_ids,
    places,
    sid_text,
)
from sid_jax.ids.sorted_ids import SortedIds

_ITEMS_SHOWN = 10


class IdTable:
    """The ID table: N items and their Semantic IDs, one row per item.

    Semantic IDs and prefixes are given as numbers, `(12, 4, 91, 0)`, or as text, "12-4-91-0". A well-formed ID that is
    not in the table raises a `KeyError`, as in a dict; a malformed ID or prefix raises a `UserError`.

    Attributes:
      semantic_ids: `[N, L]` int32, 0 or more.
      codes: `[N, L']` int32, the codes that the model assigned, before IDs were made unique; None if unknown.
      sizes: the number of codes K of each of the L levels.
      columns: further columns (title, genres, ...), N rows.
      name: name of these IDs in reports and messages.
      id_name: name of the column of item ids in files.
      shared: whether several items may have one Semantic ID.
      figures: quality metrics by name, for display.
    """

    def __init__(
        self,
        item_ids: Many,
        semantic_ids: np.ndarray,
        *,
        codes: np.ndarray | None = None,
        sizes: Sequence[int] | None = None,
        columns: pa.Table | Mapping[str, Any] | None = None,
        name: str = "items",
        id_name: str = "item_id",
        shared: bool = False,
        figures: Mapping[str, Any] | None = None,
        check: bool = True,
    ):
        """Makes a table.

        Args:
          item_ids: `[N]`, all integers or all text, distinct.
          semantic_ids: `[N, L]` integers.
          codes: `[N, L']` integers; None if unknown.
          sizes: the number of codes K of each level; None for one more than the level's largest code.
          columns: further columns by name, `[N]` each; optional.
          name: see the attribute.
          id_name: see the attribute.
          shared: see the attribute.
          figures: see the attribute.
          check: whether to reject repeated item ids and, unless `shared`, repeated Semantic IDs in this call. If not,
            they are rejected at the first look-up.

        Raises:
          ValueError: if the shapes do not match.
          UserError: if two items have the same id; if two items have the same Semantic ID and `shared` is False; if two
            columns have the same name; or if the values of a column have no common type.
        """
        # `np.ndim` would convert an Arrow column to an array, which imports pandas.
        flat = isinstance(item_ids, (pa.Array, pa.ChunkedArray)) or np.ndim(item_ids) == 1
        if semantic_ids.ndim != 2 or len(item_ids) != len(semantic_ids) or not flat:
            raise ValueError(
                f"item_ids must have shape [N] and semantic_ids [N, L], not {np.shape(item_ids)} and "
                f"{semantic_ids.shape}"
            )
        self._given_ids = item_ids if isinstance(item_ids, (np.ndarray, pa.ChunkedArray)) else arrow_ids(item_ids)
        self.semantic_ids, self.codes = semantic_ids, codes
        self.name, self.id_name, self.shared, self.figures = name, id_name, shared, dict(figures or {})
        self._sizes = None if sizes is None else tuple(map(int, sizes))
        self.columns = columns_table(columns, len(semantic_ids), (id_name, *OWN_COLUMNS))
        if check:
            check_unique(self.item_ids, name)
            if not shared:
                _ = self._sorted

    def __len__(self) -> int:
        """Returns N."""
        return len(self.semantic_ids)

    def __contains__(self, item: object) -> bool:
        """Returns whether an item is in the table."""
        return _is_id(item) and item in self._row_of

    def __iter__(self) -> Iterator[Item]:
        """Yields the item ids in the order of the rows."""
        return iter(self.item_ids.tolist())

    @functools.cached_property
    def item_ids(self) -> np.ndarray:
        """`[N]` int64 or object (str), the distinct item ids."""
        ids = self._given_ids
        if isinstance(ids, np.ndarray):
            return ids
        return numbers_of(ids) if pa.types.is_integer(ids.type) else np.array(ids.to_pylist(), object)

    @functools.cached_property
    def arrow_ids(self) -> pa.ChunkedArray:
        """`[N]` int64 or string, the item ids as an Arrow array."""
        return arrow_ids(self._given_ids)

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of codes K of each of the L levels; if unknown, one more than the level's largest code."""
        return self._sizes or tuple((self.semantic_ids.max(axis=0, initial=0) + 1).tolist())

    @property
    def titles(self) -> np.ndarray | None:
        """`[N]` object (str or None), the column "title"; None if there is no such column, or its type is not text."""
        if "title" not in self.columns.column_names:
            return None
        return self.columns["title"].to_numpy() if is_text(self.columns["title"].type) else None

    @overload
    def semantic_id(self, item: Item) -> tuple[int, ...]: ...
    @overload
    def semantic_id(self, item: Many) -> np.ndarray: ...
    def semantic_id(self, item: Item | Many) -> tuple[int, ...] | np.ndarray:
        """Returns the Semantic ID of one item as a tuple of L numbers, or the IDs of n items as `[n, L]` int32.

        Raises:
          KeyError: if an item is not in the table.
        """
        if item is None or isinstance(item, (int, float, str, bytes, np.generic)):
            return tuple(self.semantic_ids[self._row(item)].tolist())
        if isinstance(item, np.ndarray) and item.ndim != 1:
            raise UserError(f"items have shape {list(item.shape)}; give one item or a list of items")
        rows = self.rows_of(item)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            self._refuse_unknown(item[int(missing[0])], len(missing))
        return self.semantic_ids[rows]

    @overload
    def item(self, semantic_id: Codes) -> Item: ...
    @overload
    def item(self, semantic_id: Many) -> Item | np.ndarray: ...
    def item(self, semantic_id: Codes | Many) -> Item | np.ndarray:
        """Returns the id of the item with a Semantic ID; for n Semantic IDs, `[n]` ids of the type of `item_ids`.

        Raises:
          KeyError: if no item has the Semantic ID.
          UserError: if a Semantic ID is not L numbers, or several items share it (`items` returns all of them).
        """
        many = parse_semantic_ids(semantic_id)
        wanted = np.array([parse_semantic_id(semantic_id)], np.int64) if many is None else many
        levels = self.semantic_ids.shape[1]
        if wanted.shape[1] != levels:
            text = sid_text(wanted[:1])[0] if len(wanted) else ""
            raise UserError(
                f"{text!r} has {wanted.shape[1]} codes, but a Semantic ID of this table has {levels}; give {levels} "
                "codes"
            )
        first, end = self._sorted.ranges_of(wanted)
        for wrong, error, words in (
            (
                first == end,
                KeyError,
                "no item has the Semantic ID {text}; a removed or moved item may have had it",
            ),
            (end - first > 1, UserError, "{count} items share the Semantic ID {text}; call items() to get all of them"),
        ):
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise error(words.format(text=sid_text(wanted[row : row + 1])[0], count=end[row] - first[row]))
        found = self.item_ids[self._sorted.order[first]]
        return found.tolist()[0] if many is None else found

    def items(self, prefix: Codes) -> np.ndarray:
        """Returns the ids of the items whose Semantic ID begins with a prefix, in the order of their Semantic IDs.

        Args:
          prefix: at most L numbers; an empty prefix matches every item.

        Returns:
          `[n]`, of the type of `item_ids`; empty if no item matches.

        Raises:
          UserError: if the prefix is not numbers, or longer than L.
        """
        wanted, levels = parse_semantic_id(prefix), self.semantic_ids.shape[1]
        if len(wanted) > levels:
            raise UserError(
                f"{sid_text([wanted])[0]!r} has {len(wanted)} codes, but a Semantic ID of this table has {levels}; "
                f"give at most {levels} codes"
            )
        first, end = self._sorted.range_of(wanted)
        return self.item_ids[self._sorted.order[first:end]]

    def neighbors(self, item: Item, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Returns the items that have the longest common prefixes with an item, the longest first.

        Items with equally long common prefixes are in the order of their Semantic IDs, and items with the same ID in
        the order of the rows. Code numbers carry no distance: two codes with close numbers need not be similar.

        Args:
          item: an item id.
          count: maximum number of neighbors; fewer are returned if fewer items share the first code.

        Returns:
          `[n]` ids, of the type of `item_ids`, and `[n]` int64, the length of each common prefix, from L down to 1.

        Raises:
          KeyError: if the item is not in the table.
        """
        if not isinstance(count, (int, np.integer)) or count < 0:
            raise UserError(f"count is {count!r}; it must be a number of items, 0 or more")
        row = self._row(item)
        rows, shared = self._sorted.neighbors(row, tuple(self.semantic_ids[row].tolist()), count)
        return self.item_ids[rows], shared

    def rows_of(self, items: Many) -> np.ndarray:
        """Returns the row of each of n items: `[n]` int64; -1 for an item that is not in the table."""
        try:
            wanted = arrow_ids(items)
        except UserError:
            return np.array([self._row_of.get(item, -1) if _is_id(item) else -1 for item in items], np.int64)
        if wanted.type != self.arrow_ids.type:
            return np.full(len(wanted), -1)
        return places(wanted, self.arrow_ids)

    def replace(self, **changes: Any) -> IdTable:
        """Returns a copy of the table with some arguments of `IdTable` replaced."""
        kept = {
            "item_ids": self._given_ids, "semantic_ids": self.semantic_ids, "codes": self.codes, "sizes": self._sizes,
            "columns": self.columns, "name": self.name, "id_name": self.id_name, "shared": self.shared,
            "figures": self.figures, "check": not changes.keys().isdisjoint(("item_ids", "semantic_ids", "shared")),
        }  # fmt: skip
        return IdTable(**{**kept, **changes})

    def take(self, rows: np.ndarray) -> IdTable:
        """Returns the table with only some rows, given by distinct row numbers or by a mask `[N]`."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        ids = self._given_ids
        return self.replace(
            item_ids=ids[rows] if isinstance(ids, np.ndarray) else ids.take(pa.array(rows)),
            semantic_ids=self.semantic_ids[rows],
            codes=None if self.codes is None else self.codes[rows],
            columns=self.columns.take(pa.array(rows)) if self.columns.column_names else None,
            check=False,
        )

    def align(self, item_ids: np.ndarray, option: str = "", remedy: str = "") -> IdTable:
        """Returns the table restricted to the items of a catalog, in the catalog's order and with the catalog's ids.

        Args:
          item_ids: `[n]` integers or str, the catalog's ids. If one side (table or catalog) has integers and the other
            has text, ids are compared as text.
          option: the option that drops items without an ID, named in the error.
          remedy: see `likely_cause`.

        Raises:
          UserError: if an item of the catalog is not in the table.
        """
        have, wanted = comparable(self.arrow_ids, item_ids)
        rows = places(wanted, have)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            first = item_ids.tolist()[missing[0]]
            unknown = [str(item_ids[row]) for row in missing[:1000].tolist()]
            cause = likely_cause(unknown, rows[rows >= 0], self.item_ids, remedy)
            leaving = f", or drop them ({option})" if option else ""
            # If both sides have integer ids, one side may count from 0 and the other from 1.
            numbered = pa.types.is_integer(have.type) and pa.types.is_integer(wanted.type)
            shift = (
                "; if the IDs number items from 0 and the data from 1, give the file of IDs as FILE.json+1, which adds "
                "1 to its item ids"
            )
            shift = shift if numbered else ""
            raise UserError(
                f"IDs {self.name!r}: {len(missing):,} of {len(item_ids):,} items have no Semantic ID (the first one is "
                f"{first!r}): {cause or f'make IDs for them{leaving}'}{shift}"
            )
        return self.take(rows).replace(item_ids=item_ids, check=False)

    def with_columns(self, columns: Any, *, id_column: str | None = None) -> IdTable:
        """Returns the table with further columns, matched by item id. Existing columns of the same name are replaced.

        Args:
          columns: one of two forms. (1) A table: an Arrow table, a pandas DataFrame, or a mapping from column name to
            values. One column has the item ids, in any order; in a DataFrame, this may be the index. (2) A mapping from
            column name to a mapping from item id to value. Items without a value get null. Values of items that are not
            in the table are ignored.
          id_column: the column of item ids; None for the column named `id_name`, or else the first column.

        Raises:
          UserError: if the column of ids is missing or repeats an id; if no item of the table has a value; if a column
            has a reserved name; or if the values of a column have no common type.
        """
        added = self.columns
        for name, values in matched_columns(columns, self.arrow_ids, self.id_name, id_column).items():
            if name in (self.id_name, *OWN_COLUMNS):
                raise UserError(f"the ID table already has a column {name!r}; rename the new column")
            if name in added.column_names:
                added = added.drop_columns([name])
            # An Arrow table without columns has no rows, so a column cannot be appended to it.
            added = added.append_column(name, values) if added.column_names else pa.table({name: values})
        return self.replace(columns=added)

    def to_arrow(self) -> pa.Table:
        """Returns the table in the format of an export: item ids, `codes`, `semantic_id`, `sid`, and the columns.

        Codes are int32 for any K. In uint8, they would overflow when readers add offsets to them, and embedding layers
        need signed integers.
        """
        own = {self.id_name: self._given_ids if isinstance(self._given_ids, pa.ChunkedArray) else self.arrow_ids}
        if self.codes is not None:
            own["codes"] = number_lists(self.codes.astype(np.int32))
        own |= {"semantic_id": number_lists(self.semantic_ids.astype(np.int32)), "sid": arrow_text(self.semantic_ids)}
        return pa.table({**own, **{name: self.columns[name] for name in self.columns.column_names}})

    def fingerprint(self) -> str:
        """Returns the SHA-256 of item ids and Semantic IDs, independent of the name and of other columns."""
        digest = hashlib.sha256()
        digest.update(json.dumps([self.semantic_ids.shape, self.item_ids.tolist()]).encode())
        digest.update(np.ascontiguousarray(self.semantic_ids, dtype="<i4").tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        """Returns one line with name, number of items, sizes and columns."""
        names = f", columns {', '.join(self.columns.column_names)}" if self.columns.column_names else ""
        return f"IdTable({self.name!r}: {len(self):,} items, Semantic IDs of {_sizes_text(self.sizes)} codes{names})"

    def _repr_html_(self) -> str:
        """Returns HTML for notebooks: sizes, metrics and the first ten items."""
        figures = {"distinct Semantic IDs": len(self) - len(self._sorted.repeated), **self.figures}
        lines = [
            f"<b>{html.escape(self.name)}</b>: {len(self):,} items, Semantic IDs of {_sizes_text(self.sizes)} codes",
            ", ".join(f"{html.escape(name)} {_figure(value)}" for name, value in figures.items()),
        ]
        shown = self.take(np.arange(min(_ITEMS_SHOWN, len(self))))
        columns = {self.id_name: shown.item_ids.tolist(), "Semantic ID": sid_text(shown.semantic_ids).tolist()}
        columns |= {name: shown.columns[name].to_pylist() for name in shown.columns.column_names}
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        body = (
            "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row) + "</tr>"
            for row in zip(*columns.values(), strict=True)
        )
        return f"<p>{'<br>'.join(lines)}</p><table><tr>{head}</tr>{''.join(body)}</table>"

    @functools.cached_property
    def _row_of(self) -> dict[Any, int]:
        rows = {item: row for row, item in enumerate(self.item_ids.tolist())}
        if len(rows) < len(self):
            check_unique(self.item_ids, self.name)
        return rows

    @functools.cached_property
    def _sorted(self) -> SortedIds:
        found = SortedIds(self.semantic_ids)
        if len(found.repeated) and not self.shared:
            rows = found.order[found.repeated[0] :][:2]
            one, other = self.item_ids[rows].tolist()
            text = sid_text(self.semantic_ids[rows[:1]])[0]
            raise UserError(
                f"items {one!r} and {other!r} have the same Semantic ID {text}; make the IDs unique first (in "
                "Python, IdTable(..., shared=True) accepts shared IDs)"
            )
        return found

    def _row(self, item: Item | np.integer) -> int:
        # In Python, True == 1 == 1.0, but bools and floats are not valid ids.
        row = self._row_of.get(item) if _is_id(item) else None
        if row is None:
            self._refuse_unknown(item)
        assert row is not None
        return row

    def _refuse_unknown(self, item: Item | np.integer, count: int = 1) -> None:
        more = f" ({count:,} items are missing in total)" if count > 1 else ""
        example = self.item_ids[:1].tolist()[0] if len(self) else None
        raise KeyError(f"no item has the id {item!r}{more}; ids of this table look like {example!r}")


def joined(tables: Sequence[IdTable]) -> IdTable:
    """Concatenates tables. The result has the name, sizes, columns and types of the first table."""
    first, names = tables[0], tables[0].columns.column_names
    if not any(len(each) for each in tables[1:]):
        return first
    codes = [each.codes for each in tables if each.codes is not None]
    return first.replace(
        item_ids=pa.chunked_array([chunk for each in tables for chunk in each.arrow_ids.chunks], first.arrow_ids.type),
        semantic_ids=np.concatenate([each.semantic_ids for each in tables]),
        codes=np.concatenate(codes) if len(codes) == len(tables) else None,
        columns=pa.concat_tables([each.columns.select(names) for each in tables]) if names else None,
        check=False,
    )


def _sizes_text(sizes: Sequence[int]) -> str:
    """Returns "3 x 256", or "256 x 256 x 4" if levels differ in K."""
    return f"{len(sizes)} x {sizes[0]}" if len(set(sizes)) == 1 else " x ".join(map(str, sizes))


def _figure(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_id(item: object) -> bool:
    return isinstance(item, (int, str, np.integer)) and not isinstance(item, bool)
