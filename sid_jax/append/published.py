"""An export as a version of a catalog that lives: who is in it, who was, and what gave them their IDs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sid_jax.append.items import Items, read_items
from sid_jax.errors import UserError
from sid_jax.export.manifest import manifest_hash, read_manifest
from sid_jax.export.tables import table_files
from sid_jax.export.weights import read_model
from sid_jax.ids.relocate import tuple_keys
from sid_jax.ids.unique import SCHEMES
from sid_jax.models.rqvae import RQVAE

RETIRED_FILE = "retired.parquet"
# In its table, the version that an item was no longer in.
REMOVED_IN = "removed_in"


@dataclasses.dataclass(frozen=True, eq=False)
class Published:
    """One version.

    Attributes:
      folder: the export's.
      manifest: its manifest.
      manifest_hash: what the next version calls it by.
      version: its number; an export that was appended to none is the first.
      items: who has an ID.
      retired: who had one, and has it to come back to.
      removed_in: `[R]` int32, in which version each of these was gone.
      model: what gave them their codes.
      sharded: whether the table is in several files.
    """

    folder: Path
    manifest: dict[str, Any]
    manifest_hash: str
    version: int
    items: Items
    retired: Items
    removed_in: np.ndarray
    model: RQVAE
    sharded: bool

    @property
    def id_name(self) -> str:
        """What the column of ids is called."""
        return self.manifest["schema"]["id_column"]

    @property
    def scheme(self) -> str:
        """How its IDs were made unique."""
        return self.manifest["semantic_ids"]["scheme"]

    @property
    def capacity(self) -> int:
        """How many items may share an ID."""
        return self.manifest["semantic_ids"].get("capacity", 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many codes there are at each level of a Semantic ID."""
        return tuple(self.manifest["semantic_ids"]["sizes"])


def read_published(folder: Path) -> Published:
    """Reads an export, every byte of it, and sees that it agrees with itself.

    Raises:
      UserError: if a file is missing, damaged, edited, or not what the others say.
    """
    manifest = read_manifest(folder, verify=True)
    _check_made(folder, manifest)
    model = read_model(folder, manifest["config"])
    num_levels, made = len(model.quantizer.levels), manifest["semantic_ids"]
    id_name, files = manifest["schema"]["id_column"], table_files(folder)
    items = read_items(files, id_name, made["length"], num_levels)
    retired, removed_in = items.rows(np.arange(0)), np.empty(0, np.int32)
    if RETIRED_FILE in manifest["files"]:
        read = read_items([folder / RETIRED_FILE], id_name, made["length"], num_levels)
        removed_in = read.columns[REMOVED_IN].to_numpy()
        retired = dataclasses.replace(read, columns=read.columns.drop_columns([REMOVED_IN]))
    version = manifest.get("version", {}).get("number", 1)
    hashed, sharded = manifest_hash(folder), files[0].name != "ids.parquet"
    found = Published(folder, manifest, hashed, version, items, retired, removed_in, model, sharded)
    _check_agreement(found)
    return found


def write_retired(folder: Path, retired: Items, removed_in: np.ndarray, id_name: str, sizes: Sequence[int]) -> None:
    """Writes the table of IDs that are nobody's and are kept."""
    table = retired.table(id_name, sizes).to_arrow().append_column(REMOVED_IN, pa.array(removed_in.astype(np.int32)))
    pq.write_table(table, folder / RETIRED_FILE)


def _check_made(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Refuses a manifest that does not say what an append must know."""
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
        raise UserError(f"{folder / 'manifest.json'} does not say how its IDs were made: export again")


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _check_agreement(found: Published) -> None:
    """Refuses a table that the codebooks or the scheme do not allow, as after an edit by hand."""
    sizes, codebooks = found.sizes, found.model.quantizer.codebook_sizes
    where = f"{found.folder / 'manifest.json'} and the other files of {found.folder}"
    if sizes[: len(codebooks)] != codebooks or len(sizes) != len(codebooks) + (found.scheme == "suffix"):
        raise UserError(f"{where} disagree: IDs of {sizes} codes, codebooks of {codebooks}; export again")
    for items in (found.items, found.retired):
        if len(items) and (items.semantic_ids.max(axis=0) >= sizes).any():
            raise UserError(f"{where} disagree: a code is not below its level's {sizes}; export again")
    ids = pa.chunked_array([*found.items.ids.chunks, *found.retired.ids.chunks], found.items.ids.type)
    if ids.null_count or pc.count_distinct(ids).as_py() < len(ids):
        raise UserError(f"{where} disagree: an item is there twice; export again")
    if found.scheme != "none":
        taken = np.concatenate([found.items.semantic_ids, found.retired.semantic_ids])
        shared = np.unique(tuple_keys(taken, sizes), return_counts=True)[1].max(initial=0)
        if shared > (found.capacity if found.scheme == "relocate" else 1):
            raise UserError(f"{where} disagree: {shared} items share a Semantic ID; export again")
