"""The data set that training and export use: ids, vectors, and columns that describe the items."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sid_jax.data.blocks import in_blocks
from sid_jax.data.layout import Layout
from sid_jax.errors import UserError

if TYPE_CHECKING:  # `relations` imports JAX, which reading vectors does not need.
    from sid_jax.data.relations import Relations

# The columns of an ID table, besides the item ids: code tuple, Semantic ID, Semantic ID as text.
OWN_COLUMNS = ("codes", "semantic_id", "sid")


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Rows of the input vectors that are dropped because they hold NaN or infinite values.

    Attributes:
      rows: positions of such rows among all rows, in ascending order.
      out_of: number of all rows.
      first: descriptions of the first few such rows.
    """

    rows: tuple[int, ...] = ()
    out_of: int = 0
    first: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        """The number of dropped rows."""
        return len(self.rows)

    def __str__(self) -> str:
        more = ", ..." if self.num_rows > len(self.first) else ""
        return (
            f"{self.num_rows:,} of {self.out_of:,} rows hold NaN or infinite values and are dropped: "
            f"{', '.join(self.first)}{more}"
        )


@dataclasses.dataclass(frozen=True)
class VectorSet:
    """N items and their vectors, in the same order.

    Attributes:
      ids: `[N]` item ids, int64 or object (str), unchanged.
      vectors: `[N, D]` float32, finite except in missing parts (see `layout`), and unscaled; the model scales them.
      id_name: name of the id column in an exported table ("item_id", "user_id").
      columns: other columns by name, such as "title" or "year", `[N]` each, of types that are not nested; they are
        exported with the IDs.
      source: one line that says where the data came from.
      cold: `[N]` bool, items that are excluded from training; None if there are none.
      relations: relations of the training items from interaction histories; None if no loss needs them.
      left_out: rows of the input vectors that were dropped.
      made_of: the SHA-256 of everything that vectors and relations are computed from, if this includes ratings or
        histories; otherwise "". It replaces the vectors in the fingerprint. Vectors from ratings or histories are
        computed by a truncated SVD, whose last bits vary with the machine and the number of threads.
      layout: the parts of the vectors, where a part is NaN if an item lacks it; None for vectors without parts.
      about_parts: for each part, a dict that describes how values of new items are converted; see
        `sid_jax.data.part_sources`.
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

    def __post_init__(self) -> None:
        """Raises UserError, before any training, if a column has a name that the ID table needs."""
        for name in self.columns:
            if name in (self.id_name, *OWN_COLUMNS):
                raise UserError(
                    f"two columns of the ID table would have the name {name!r}; rename the column in your data"
                )

    @property
    def num_trained(self) -> int:
        """The number of training items."""
        return len(self.ids) if self.cold is None else int((~self.cold).sum())

    def trained(self) -> VectorSet:
        """Returns the training items."""
        if self.cold is None:
            return self
        kept = ~self.cold
        columns = {name: values.filter(pa.array(kept)) for name, values in self.columns.items()}
        relations = self.relations and self.relations.among(kept)
        return dataclasses.replace(
            self, ids=self.ids[kept], vectors=self.vectors[kept], columns=columns, cold=None, relations=relations
        )

    def fingerprint(self) -> str:
        """Returns the SHA-256 of ids, vectors (or `made_of`, if it is not empty), layout and cold items.

        The digest identifies the training data.
        """
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
    """Returns one SHA-256 of all arguments: of the bytes of arrays, and of the text of other values."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else f"\n{part}\n".encode())
    return digest.hexdigest()
