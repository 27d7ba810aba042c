"""Makes exports of an untrained model: it has random codebooks, and neither an encoder network nor a decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.export.artifact import Export, write_export
from sid_jax.export.encoder import ITEMS_A_CALL, encode_vectors
from sid_jax.export.weights import model_from_weights
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.table import IdTable
from sid_jax.ids.unique import make_unique

SIZES, FEATURES = (4, 3, 5), 6


def made_model(seed=0):
    """A model of three levels over vectors of six features."""
    random = np.random.default_rng(seed)
    codebooks = [random.normal(size=(size, FEATURES)).astype(np.float32) / (n + 1) for n, size in enumerate(SIZES)]
    scaling = {"mean": np.zeros(FEATURES, np.float32), "scale": np.ones(FEATURES, np.float32)}
    return model_from_weights(codebooks, {}, scaling, {"activation": "silu", "unit_norm": False})


def made_vectors(number, seed=0):
    """Returns a vector for each item number; items whose number is a multiple of 3 have the same vector and codes."""
    return np.stack([np.random.default_rng([seed, each % 3 and each]).normal(size=FEATURES) for each in number]).astype(
        np.float32
    )


def make_export(folder: Path, ids, vectors, *, scheme="relocate", capacity=1, columns=None, sharded=False, seed=0):
    """Writes an export of the items `ids`, whose vectors are `vectors`."""
    model = made_model(seed)
    ids = np.array(ids, None if isinstance(ids[0], int) else object)
    # The vectors are padded, so that only one program is compiled.
    filled = np.pad(vectors, ((0, -len(vectors) % ITEMS_A_CALL), (0, 0)))
    codes = encode_vectors(model, filled)[: len(ids)]
    alternatives = CodeAlternatives.of_vectors(model, vectors)
    semantic_ids = make_unique(scheme, codes, ids, SIZES, alternatives, capacity=capacity)
    sizes = [*SIZES, int(semantic_ids[:, -1].max()) + 1] if scheme == "suffix" else list(SIZES)
    error = float(alternatives.costs(np.arange(len(ids)), codes[:, None]).sum())
    spread = float(np.square(vectors - vectors.mean(axis=0)).sum()) or 1.0
    manifest = {
        "config": {"data": {"id_column": "item_id", "vector_column": "vector"}},
        "step": 3,
        "data": {"num_items": len(ids), "num_features": FEATURES},
        "semantic_ids": {"scheme": scheme, "capacity": capacity, "length": len(sizes), "sizes": sizes},
        "schema": {"id_column": "item_id", "columns": list(columns or {})},
        "metrics": {"mse": error / vectors.size, "r2": 1 - error / spread},
    }
    table = IdTable(ids, semantic_ids, codes=codes, sizes=sizes, columns=columns, shared=True)
    write_export(Export(manifest, table, model, rows_a_file=7 if sharded else None), folder)
    return folder


def write_vectors(path: Path, ids, vectors, **columns):
    """Writes new items as a .parquet file."""
    lists = pa.array(list(vectors), pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": list(ids), "vector": lists, **columns}), path)
    return str(path)
