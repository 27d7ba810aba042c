"""TorchEasyRec: the files that its `resolve_sid_collisions` publishes for one version (*generation*) of the IDs."""

from __future__ import annotations

import dataclasses
import json
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.formats.content import Content
from sid_jax.ids.convert import number_lists

_GENERATION = "v1"


def write_torcheasyrec(folder: Path, content: Content) -> None:
    """Writes `v1/item_to_sid`, `v1/sid_to_items` and `v1/manifest.json`.

    Item ids have the same type as in the ID table. `offset_codebook` is the ID as token ids, from one vocabulary for
    all levels. `index` numbers the items of an ID, starting at 1.
    """
    table = content.table
    ids = table.semantic_ids.astype(np.int64)
    raw = ids if table.codes is None or table.codes.shape != ids.shape else table.codes.astype(np.int64)
    tokens = dataclasses.replace(content, first_id=0).vocabulary.token_ids(table.semantic_ids).astype(np.int64)
    order = np.lexsort(ids.T[::-1])
    is_first = np.ones(len(ids), bool)
    is_first[1:] = (ids[order[1:]] != ids[order[:-1]]).any(axis=1)
    firsts = np.flatnonzero(is_first)
    offsets = np.append(firsts, len(ids))
    index = np.empty(len(ids), np.int64)
    index[order] = np.arange(len(ids)) - np.repeat(firsts, np.diff(offsets)) + 1
    item_ids = table.arrow_ids.combine_chunks()
    rows = order[firsts]
    tables = {
        "item_to_sid": {
            "item_id": item_ids,
            "origin_codebook": number_lists(raw),
            "codebook": number_lists(ids),
            "offset_codebook": number_lists(tokens),
            "index": index,
        },
        "sid_to_items": {
            "codebook": number_lists(ids[rows]),
            "offset_codebook": number_lists(tokens[rows]),
            "itemids": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), item_ids.take(pa.array(order))),
        },
    }
    most = int(np.diff(offsets).max())
    artifacts = {}
    for name, columns in tables.items():
        (folder / _GENERATION / name).mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / _GENERATION / name / "part-0.parquet")
        location = str(content.out / _GENERATION / name)
        artifacts[name] = {"save_type": "parquet", "rows": len(next(iter(columns.values()))), "location": location}
    manifest = {
        # The identifier is derived from the content, so that the same content gives the same files.
        "bundle_uuid": uuid.uuid5(uuid.NAMESPACE_OID, table.fingerprint()).hex,
        "codebook": list(table.sizes),
        "capacity": most,
        "max_observed_items_per_sid": most,
        "artifacts": artifacts,
        "item_id_type": str(item_ids.type),
    }
    (folder / _GENERATION / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
