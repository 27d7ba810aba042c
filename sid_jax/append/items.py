"""Items and their IDs as columns: millions of them without a Python object each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable

# What the ID table says of each item beside its id and what the catalog knows.
_OURS = ("codes", "semantic_id", "sid")


@dataclasses.dataclass(frozen=True, eq=False)
class Items:
    """N items, row for row.

    Attributes:
      ids: `[N]` int64 or string.
      codes: `[N, L]`, what the model gave.
      semantic_ids: `[N, L']`.
      columns: what else is known of them.
    """

    ids: pa.ChunkedArray
    codes: np.ndarray
    semantic_ids: np.ndarray
    columns: pa.Table

    def __len__(self) -> int:
        """Returns N."""
        return len(self.ids)

    def rows(self, chosen: np.ndarray) -> Items:
        """Returns the rows with these numbers, or where a mask `[N]` is true."""
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        taken = pa.array(chosen)
        return Items(self.ids.take(taken), self.codes[chosen], self.semantic_ids[chosen], self.columns.take(taken))

    def table(self, id_name: str, sizes: Sequence[int]) -> IdTable:
        """Returns the ID table; K of each level says in which type codes are written."""
        return IdTable(
            self.ids,
            self.semantic_ids,
            codes=self.codes,
            sizes=sizes,
            columns=self.columns,
            id_name=id_name,
            shared=True,
            check=False,
        )


def joined(several: Sequence[Items]) -> Items:
    """Returns the items of all, one after another; the first one's columns and types."""
    codes, semantic_ids = (
        np.concatenate([getattr(each, name) for each in several]) for name in ("codes", "semantic_ids")
    )
    ids = pa.chunked_array([chunk for each in several for chunk in each.ids.chunks], several[0].ids.type)
    return Items(ids, codes, semantic_ids, pa.concat_tables([each.columns for each in several]))


def read_items(files: Sequence[Path], id_name: str, length: int, num_levels: int) -> Items:
    """Reads files of an ID table.

    Args:
      files: parquet.
      id_name: the column of ids.
      length: L', codes of a Semantic ID.
      num_levels: L.

    Raises:
      UserError: if there are none, or they are not such files.
    """
    try:
        table = pa.concat_tables(pq.read_table(path) for path in files)
        others = [name for name in table.column_names if name not in (id_name, *_OURS)]
        codes, semantic_ids = _matrix(table["codes"], num_levels), _matrix(table["semantic_id"], length)
        return Items(table[id_name], codes, semantic_ids, table.select(others))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        where = files[0].parent if files else "the export"
        raise UserError(
            f"the ID table in {where} cannot be read: {' '.join(str(error).split())[:200]}; export again"
        ) from error


def _matrix(column: pa.ChunkedArray, length: int) -> np.ndarray:
    numbers = pc.list_flatten(column).to_numpy()
    if len(numbers) != length * len(column):
        raise ValueError(f"a column has {len(numbers)} codes for {len(column)} items of {length}")
    return numbers.reshape(len(column), length)


def places(ids: pa.ChunkedArray, among: pa.ChunkedArray) -> np.ndarray:
    """Returns where each id `[N]` is among others: `[N]` int64, -1 for one that is not."""
    return pc.fill_null(pc.index_in(ids, value_set=among), -1).to_numpy().astype(np.int64)
