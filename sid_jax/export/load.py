"""An export, back in Python."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.checks import check_finite
from sid_jax.errors import UserError
from sid_jax.export.codebooks import read_codebooks
from sid_jax.export.manifest import read_manifest
from sid_jax.export.tables import table_files
from sid_jax.export.weights import model_from_weights
from sid_jax.ids.table import Table
from sid_jax.models.rqvae import RQVAE

# Vectors encoded at a time: what they need is to stay in a CPU's cache.
ITEMS_A_CALL = 2048


@dataclasses.dataclass(frozen=True)
class Export:
    """What `export.py` wrote.

    Attributes:
      manifest: `manifest.json`.
      table: look-ups between items and their Semantic IDs.
      rows: the ID table, with the raw codes and what the catalog knows of each item.
      model: the trained model, for a use of encoder or decoder inside your own `jit`.
    """

    manifest: dict[str, Any]
    table: Table
    rows: pa.Table
    model: RQVAE

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Returns the codes `[N, L]` int32 of vectors `[N, D]`, as they came: scaling is part of the model.

        Raises:
          UserError: if the vectors are not of the D features that the model knows, or not finite.
        """
        vectors = np.asarray(vectors)
        features = self.model.mean.shape[0]
        if vectors.ndim != 2 or vectors.shape[1] != features:
            raise UserError(f"vectors are {vectors.shape}; this export encodes [N, {features}]")
        vectors = vectors.astype(np.float32)
        check_finite(vectors, np.arange(len(vectors)), "vectors")
        return encode_vectors(self.model, vectors)


def encode_vectors(model: RQVAE, vectors: np.ndarray) -> np.ndarray:
    """Returns the codes `[N, L]` int32 of vectors `[N, D]` float32."""
    codes = [np.empty((0, len(model.quantizer.levels)), np.int32)]
    for start in range(0, len(vectors), ITEMS_A_CALL):
        batch = vectors[start : start + ITEMS_A_CALL]
        size = ITEMS_A_CALL if len(vectors) > ITEMS_A_CALL else len(vectors)
        padded = np.pad(batch, ((0, size - len(batch)), (0, 0)))
        codes.append(np.asarray(_assign(model, jnp.asarray(padded)))[: len(batch)])
    return np.concatenate(codes)


_assign = jax.jit(RQVAE.assign)


def load_export(folder: str | Path, *, verify: bool = False) -> Export:
    """Loads an export.

    Args:
      folder: as `export.py --out` wrote it.
      verify: whether to compare every file's SHA-256 with the manifest first.

    Raises:
      UserError: if a file is missing, damaged, or not what the manifest says.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, verify=verify)
    try:
        rows = pa.concat_tables(pq.read_table(path) for path in table_files(folder))
        ids = rows[manifest["schema"]["id_column"]]
        lists = rows["semantic_id"].combine_chunks()
        made = manifest["semantic_ids"]
        semantic_ids = lists.flatten().to_numpy().astype(np.int32).reshape(len(ids), made["length"])
        shared = made["scheme"] == "none" or made.get("capacity", 1) > 1
    except (pa.ArrowException, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(
            f"the ID table in {folder} cannot be read: {' '.join(str(error).split())[:200]}; export again"
        ) from error
    column = ids.to_numpy() if pa.types.is_integer(ids.type) else np.array(ids.to_pylist(), dtype=object)
    return Export(
        manifest, Table(column, semantic_ids, shared=shared), rows, model_from_weights(*read_codebooks(folder))
    )
