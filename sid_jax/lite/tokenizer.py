"""Encodes vectors and looks up items with the model and the ID table of an export."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .free_ids import free_tuple
from .model import Model
from .table import KEPT, MANIFEST, Table, read_manifest, read_parquet


class LiteTokenizer:
    """Encodes vectors, looks up items and finds free Semantic IDs.

    Args:
      model: the export's model.
      table: the export's ID table.
      manifest: the export's manifest.
      retired: `[M, L]`, the retired IDs of removed items and the former IDs of moved items, which no other item gets.

    Attributes:
      model, table: as given.
    """

    def __init__(self, model: Model, table: Table, manifest: Mapping[str, Any], retired: np.ndarray | None = None):
        self.model, self.table = model, table
        self._made, self._retired = manifest["semantic_ids"], retired

    def __repr__(self) -> str:
        """Returns the number of items and the length of their Semantic IDs."""
        return f"LiteTokenizer({len(self.table):,} items, Semantic IDs of {self.table.semantic_ids.shape[1]} codes)"

    def encode(self, vectors: Any) -> np.ndarray:
        """Returns the codes `[n, L]` int32 of vectors `[n, D]`, or `[L]` of one vector; see `Model.encode`."""
        return self.model.encode(vectors)

    def decode(self, codes: Any) -> np.ndarray:
        """Returns the decoded vectors `[n, D]` float32 of codes `[n, L]`, or `[D]` of `[L]`; see `Model.decode`."""
        return self.model.decode(codes)

    def free_id(self, vector: Any) -> tuple[int, ...]:
        """Returns the Semantic ID that an append would assign to an item with this vector `[D]`.

        No other item has this ID, unless the capacity of an ID is above 1 or IDs are not unique (`--unique=none`). The
        ID is not stored. The next append assigns it, unless another new item gets it first.

        Raises:
          ValueError: if the vector cannot be encoded (see `Model.encode`), or if no Semantic ID is free.
        """
        vector = np.asarray(vector)
        if vector.ndim != 1:
            raise ValueError(f"the vector has shape {list(vector.shape)}; give one vector [{self.model.num_features}]")
        codes = tuple(self.encode(vector).tolist())
        if self._made["scheme"] == "none":
            return codes
        if self._made["scheme"] == "suffix":
            last = max((each[-1] for each in self._taken if each[:-1] == codes), default=-1)
            return (*codes, last + 1)
        return free_tuple(self.model, vector.astype(np.float32), self._taken, self._made.get("capacity", 1))

    @functools.cached_property
    def _taken(self) -> Counter[tuple[int, ...]]:
        rows = self.table.semantic_ids.tolist() + ([] if self._retired is None else self._retired.tolist())
        return Counter(map(tuple, rows))


def load(folder: str | os.PathLike[str]) -> LiteTokenizer:
    """Loads the model and table of an export's folder.

    Raises:
      ValueError: if the folder is damaged or not an export; or if pyarrow is needed but not installed. It is needed if
        the export has no file `ids.csv`, or was written by an append.
      OSError: if a file cannot be read.
    """
    path = Path(folder).expanduser()
    if not (path / MANIFEST).exists():
        raise ValueError(f"{path} is not an export, since it has no {MANIFEST}; give the folder of an export")
    manifest = read_manifest(path)
    kept, retired = [path / name for name in KEPT if (path / name).exists()], None
    if kept:
        retired = read_parquet(kept, manifest["schema"]["id_column"])[1]
    return LiteTokenizer(Model.read(path), Table.read(path), manifest, retired)
