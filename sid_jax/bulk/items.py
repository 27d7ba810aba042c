"""Items on their way through the stages: where each stands, its id, its codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sid_jax.bulk.ids import ArrowIds


@dataclasses.dataclass(frozen=True)
class Items:
    """n items.

    Attributes:
      part, row: `[n]` int32, where they stand.
      ids: of them.
      codes: `[n, L]`, of the smallest type.
      vector_hash: `[n]` uint64, the same for the same vector.
    """

    part: np.ndarray
    row: np.ndarray
    ids: ArrowIds
    codes: np.ndarray
    vector_hash: np.ndarray

    def rows(self, chosen: np.ndarray) -> Items:
        """Returns some of them."""
        ids = ArrowIds(self.ids.arrow.take(pa.array(chosen)))
        return Items(self.part[chosen], self.row[chosen], ids, self.codes[chosen], self.vector_hash[chosen])

    def columns(self) -> dict[str, np.ndarray | pa.ChunkedArray]:
        """Returns them as columns of a table."""
        columns = {"part": self.part, "row": self.row, "id": self.ids.arrow, "vector_hash": self.vector_hash}
        return {**columns, **code_columns(self.codes)}


def items_of(table: pa.Table) -> Items:
    """Returns the items of a table of such columns."""
    arrays = {name: table[name].to_numpy() for name in ("part", "row", "vector_hash")}
    return Items(arrays["part"], arrays["row"], ArrowIds(table["id"]), codes_of(table), arrays["vector_hash"])


def joined(several: Sequence[Items]) -> Items:
    """Returns the items of all, one after another."""
    ids = pa.chunked_array([chunk for each in several for chunk in each.ids.arrow.chunks], several[0].ids.arrow.type)
    part, row, codes, vector_hash = (
        np.concatenate([getattr(each, name) for each in several]) for name in ("part", "row", "codes", "vector_hash")
    )
    return Items(part, row, ArrowIds(ids), codes, vector_hash)


def code_columns(codes: np.ndarray) -> dict[str, np.ndarray | pa.ChunkedArray]:
    """Returns codes `[n, L]` as a column for each level."""
    return {f"code_{level}": np.ascontiguousarray(codes[:, level]) for level in range(codes.shape[1])}


def codes_of(table: pa.Table) -> np.ndarray:
    """Returns the codes `[n, L]` of `code_columns`."""
    names = [name for name in table.column_names if name.startswith("code_")]
    return np.stack([table[name].to_numpy() for name in names], axis=1)
