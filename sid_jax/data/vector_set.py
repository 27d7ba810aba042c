"""What the rest of the system knows of the data: ids, vectors, and the columns that describe the items."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sid_jax.data.blocks import in_blocks
from sid_jax.data.layout import Layout

if TYPE_CHECKING:  # It imports JAX, which reading vectors does not need.
    from sid_jax.data.relations import Relations


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Rows of a user's files that are left out, since they hold NaN or infinite values.

    Attributes:
      num_rows: how many.
      out_of: of so many.
      first: the first few, in words.
    """

    num_rows: int = 0
    out_of: int = 0
    first: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = ", ..." if self.num_rows > len(self.first) else ""
        return (
            f"{self.num_rows:,} of {self.out_of:,} rows hold NaN or infinite values and are left out: "
            f"{', '.join(self.first)}{more}"
        )


@dataclasses.dataclass(frozen=True)
class VectorSet:
    """N items and their vectors, row for row.

    Attributes:
      ids: `[N]` item ids, int64 or object (str), exactly as they came.
      vectors: `[N, D]` float32, finite, as they came: scaling belongs to the model.
      id_name: what an id is called in an exported table ("item_id", "user_id").
      columns: further columns by name, each `[N]` of a type that is not nested; exported beside the IDs ("title",
        "year", "genres").
      source: one line that says where the data came from.
      cold: `[N]` bool, items that are not trained on; None for none.
      relations: what histories say of the items that are trained on; None if no loss wants it.
      left_out: what the files hold besides.
      made_of: the SHA-256 of what vectors and relations were computed from where a truncated SVD is in them, whose
        last bits differ with the machine and the number of threads; empty where vectors are as they came.
      layout: the parts of the vectors, each NaN where an item lacks it; None for vectors without parts.
      about_parts: what new items' parts are made by, a plain dict for each part; see `sid_jax.data.part_sources`.
    """

    ids: np.ndarray
    vectors: np.ndarray
    id_name: str = "item_id"
    columns: dict[str, pa.ChunkedArray] = dataclasses.field(default_factory=dict)
    source: str = ""
    cold: np.ndarray | None = None
    relations: Relations | None = None
    left_out: LeftOut = LeftOut()
    made_of: str = ""
    layout: Layout | None = None
    about_parts: tuple[dict[str, Any], ...] = ()

    @property
    def num_trained(self) -> int:
        """How many items are trained on."""
        return len(self.ids) if self.cold is None else int((~self.cold).sum())

    def trained(self) -> VectorSet:
        """Returns the items that are trained on."""
        if self.cold is None:
            return self
        kept = ~self.cold
        columns = {name: values.filter(pa.array(kept)) for name, values in self.columns.items()}
        relations = self.relations and self.relations.among(kept)
        return dataclasses.replace(
            self, ids=self.ids[kept], vectors=self.vectors[kept], columns=columns, cold=None, relations=relations
        )

    def fingerprint(self) -> str:
        """Returns the SHA-256 over all but columns and source: equal if and only if what is trained on is."""
        digest = hashlib.sha256()
        digest.update(f"{self.vectors.shape}{self.made_of}{self.layout or ''}".encode())
        for _, block in in_blocks(self.vectors) if not self.made_of else ():
            digest.update(block.tobytes())
        for first, ids in in_blocks(self.ids):
            digest.update(("\n" * (first > 0) + "\n".join(map(str, ids.tolist()))).encode())
        if self.cold is not None:
            digest.update(self.cold.tobytes())
        return digest.hexdigest()


def digest_of(*parts: object) -> str:
    """Returns the SHA-256 of arrays, byte for byte, and of other values as they are written."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else f"\n{part}\n".encode())
    return digest.hexdigest()
