"""An export, back in Python."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sid_jax.data.checks import check_finite
from sid_jax.errors import UserError
from sid_jax.export.codebooks import read_codebooks
from sid_jax.export.manifest import read_manifest
from sid_jax.export.tables import table_files
from sid_jax.export.weights import model_from_weights
from sid_jax.ids.table import OWN_COLUMNS, IdTable
from sid_jax.models.rqvae import RQVAE

# Vectors encoded at a time: what they need is to stay in a CPU's cache.
ITEMS_A_CALL = 2048


@dataclasses.dataclass(frozen=True)
class Export:
    """What `export.py` wrote.

    Attributes:
      manifest: `manifest.json`.
      table: look-ups between items and their Semantic IDs.
      model: the trained model, for a use of encoder or decoder inside your own `jit`.
    """

    manifest: dict[str, Any]
    table: IdTable
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
        made, id_name = manifest["semantic_ids"], manifest["schema"]["id_column"]
        table = IdTable(
            rows[id_name],
            _codes(rows["semantic_id"], made["length"]),
            codes=_codes(rows["codes"], len(manifest["codebooks"]["codebook_size"])),
            sizes=made["sizes"],
            columns=rows.drop_columns([id_name, *OWN_COLUMNS]),
            name=folder.resolve().name,
            id_name=id_name,
            shared=made["scheme"] == "none" or made.get("capacity", 1) > 1,
            check=False,
        )
    except (pa.ArrowException, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(
            f"the ID table in {folder} cannot be read: {' '.join(str(error).split())[:200]}; export again"
        ) from error
    return Export(manifest, table, model_from_weights(*read_codebooks(folder)))


def _codes(lists: pa.ChunkedArray, length: int) -> np.ndarray:
    return pc.list_flatten(lists).to_numpy().astype(np.int32).reshape(len(lists), length)
