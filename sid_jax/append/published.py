"""An export as one version of a changing catalog: its items, its removed items, and how its IDs were made unique."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sid_jax.errors import UserError
from sid_jax.export.artifact import Export, load_export
from sid_jax.export.manifest import manifest_hash, read_manifest
from sid_jax.ids.relocate import tuple_keys
from sid_jax.ids.table import IdTable
from sid_jax.ids.unique import SCHEMES

# Columns of version numbers: for removed items, the first version without the item; for former IDs, the version in
# which the item moved.
REMOVED_IN, MOVED_IN = "removed_in", "moved_in"


class Published:
    """One published version of a catalog.

    Attributes:
      export: the export of the version.
      number: the version's number; 1 for an export that was not made by an append.
      items: the current items.
      retired: removed items. An item that returns gets its old ID.
      removed_in: `[R]` int32, for each removed item, the first version without it.
      former: former IDs of moved items, without further columns; one row per move.
      moved_in: `[F]` int32, the version in which the item of each former ID moved.
      scheme: the scheme that makes IDs unique.
      capacity: the maximum number of items per ID.
      sizes: the number of codes at each level of a Semantic ID.

    Raises:
      UserError: if the manifest does not state how IDs were made unique, or contradicts the table.
    """

    def __init__(self, export: Export):
        self._where = str(export.folder) if export.folder else "the export"
        _check_made(export.manifest, self._where)
        made = export.manifest["semantic_ids"]
        self.export, self.number = export, export.manifest.get("version", {}).get("number", 1)
        self.scheme, self.capacity, self.sizes = made["scheme"], made.get("capacity", 1), tuple(made["sizes"])
        self.items, self.retired = export.table, export.table.take(np.arange(0))
        self.removed_in = np.empty(0, np.int32)
        if export.retired is not None:
            columns = export.retired.columns
            self.removed_in = columns[REMOVED_IN].to_numpy()
            self.retired = export.retired.replace(columns=columns.drop_columns([REMOVED_IN]), check=False)
        self.former, self.moved_in = (
            self.items.take(np.arange(0)).replace(columns=None, check=False),
            self.removed_in[:0],
        )
        if export.former is not None:
            self.moved_in = export.former.columns[MOVED_IN].to_numpy()
            self.former = export.former.replace(columns=None, check=False)
        self._check_agreement()

    @property
    def ids(self) -> pa.ChunkedArray:
        """Ids `[N]`, int64 or string, of the current items."""
        return self.items.arrow_ids

    @property
    def kind(self) -> pa.DataType:
        """The type of the item ids, int64 or string."""
        return self.items.arrow_ids.type

    def lineage(self) -> dict[str, Any]:
        """Returns the entry of the next version's manifest that identifies this version: its name and manifest hash."""
        folder = self.export.folder
        if folder is None:
            return {"name": self.items.name, "manifest_sha256": None}
        return {"name": folder.resolve().name, "manifest_sha256": manifest_hash(folder)}

    def _check_agreement(self) -> None:
        """Rejects a table that contradicts the codebooks or the scheme, for example after manual edits."""
        sizes, codebooks = self.sizes, self.export.model.quantizer.codebook_sizes
        where = f"the manifest and the other files of {self._where}"
        if sizes[: len(codebooks)] != codebooks or len(sizes) != len(codebooks) + (self.scheme == "suffix"):
            raise UserError(
                f"{where} contradict each other: the numbers of codes per level are {sizes} for the IDs, but "
                f"{codebooks} for the codebooks; export again"
            )
        tables, given = (self.items, self.retired), (self.items, self.retired, self.former)
        if any((each.semantic_ids.max(axis=0, initial=0) >= sizes).any() for each in given):
            raise UserError(
                f"{where} contradict each other: a code is too large for its level (the levels have {sizes} codes); "
                "export again"
            )
        ids = pa.chunked_array([chunk for each in tables for chunk in each.arrow_ids.chunks], self.kind)
        if ids.null_count or pc.count_distinct(ids).as_py() < len(ids):
            raise UserError(f"{where} contradict each other: an item occurs twice; export again")
        if self.scheme != "none":
            keys = np.concatenate([tuple_keys(each.semantic_ids, sizes) for each in given])
            shared = np.unique(keys, return_counts=True)[1].max(initial=0)
            if shared > (self.capacity if self.scheme == "relocate" else 1):
                raise UserError(f"{where} contradict each other: {shared} items share a Semantic ID; export again")


def read_published(folder: Path) -> Published:
    """Reads an export. Verifies the SHA-256 of every file, and that the files do not contradict each other.

    Raises:
      UserError: if a file is missing, damaged or edited, or contradicts other files.
    """
    _check_made(read_manifest(folder, verify=True), str(folder))
    return Published(load_export(folder))


def raw_codes(table: IdTable) -> np.ndarray:
    """Returns the codes `[N, L]` that the model assigned to the items of a table.

    Raises:
      UserError: if the table does not have these codes.
    """
    if table.codes is None:
        raise UserError(
            f"{table.name} has IDs, but not the codes that the model assigned; give the folder of an export"
        )
    return table.codes


def _check_made(manifest: Mapping[str, Any], where: str) -> None:
    """Rejects a manifest if an entry that an append needs is missing or wrong."""
    made, schema = manifest.get("semantic_ids"), manifest.get("schema")
    version = manifest.get("version", {})
    good = (
        isinstance(made, dict)
        and made.get("scheme") in SCHEMES
        and _is_count(made.get("length"))
        and _is_count(made.get("capacity", 1))
        and isinstance(made.get("sizes"), list)
        and len(made["sizes"]) == made["length"]
        and all(map(_is_count, made["sizes"]))
        and isinstance(schema, dict)
        and isinstance(schema.get("id_column"), str)
        and isinstance(manifest.get("config"), dict)
        and isinstance(version, dict)
        and _is_count(version.get("number", 1))
    )
    if not good:
        raise UserError(
            f"the manifest of {where} cannot be used: its semantic_ids, schema, config or version is missing or wrong; "
            "export again"
        )


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0
