"""All files of an export that lies in memory, in their order: the manifest last."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.export.codebooks import safetensors_bytes, write_codebooks
from sid_jax.export.manifest import write_manifest
from sid_jax.export.tables import write_table
from sid_jax.export.trie_file import write_trie
from sid_jax.export.weights import model_info, torch_weights
from sid_jax.ids.table import IdTable
from sid_jax.models.rqvae import RQVAE


def write_files(
    folder: Path, table: IdTable, model: RQVAE, manifest: Mapping[str, Any], *, rows_a_file: int | None = None
) -> None:
    """Writes the ID table, its trie, the codebooks and the manifest.

    Args:
      folder: where to; it exists.
      table: items, codes and Semantic IDs.
      model: what gave the codes.
      manifest: what it says beside what every manifest says; the sizes of the IDs' levels among it.
      rows_a_file: the ID table in several files of so many rows, without a CSV and a trie; None for one of each.
    """
    write_table(folder, table.to_arrow(), rows=rows_a_file)
    if rows_a_file is None:
        write_trie(folder, table.semantic_ids, manifest["semantic_ids"]["sizes"])
    write_model(folder, model)
    write_manifest(folder, {**manifest, "codebooks": model_info(model)})


def write_model(folder: Path, model: RQVAE) -> None:
    """Writes both codebook files."""
    write_codebooks(folder, torch_weights(model), _scaling(model), model_info(model))


def model_hash(model: RQVAE) -> str:
    """Returns the SHA-256 that a model's `codebooks.safetensors` has."""
    content = safetensors_bytes(torch_weights(model), _scaling(model), model_info(model))
    return hashlib.sha256(content).hexdigest()


def _scaling(model: RQVAE) -> dict[str, np.ndarray]:
    return {"mean": np.asarray(model.mean[...]), "scale": np.asarray(model.scale[...])}
