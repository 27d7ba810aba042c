"""Last stage, a piece for each part: its rows of the ID table, in the order of its vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.bulk import store
from sid_jax.bulk.items import codes_of, items_of
from sid_jax.bulk.job import Job
from sid_jax.export.tables import code_type, id_table, shard_name


def write_part(job: Job, piece: tuple[int, int, Sequence[int]]) -> None:
    """Writes a part's file of the ID table.

    Args:
      job: whose.
      piece: which part, how many groups have been placed, and the sizes of a Semantic ID's levels.
    """
    part, num_placed, sizes = piece
    items = items_of(store.read(store.encoded(job, part)))
    # Row r of the part is the rth of them.
    codes = np.empty_like(items.codes)
    codes[items.row] = items.codes
    ids = items.ids.arrow.take(pa.array(np.argsort(items.row)))
    semantic_ids = codes.astype(np.int32)
    if job.scheme == "suffix":
        semantic_ids = np.pad(semantic_ids, ((0, 0), (0, 1)))
    for number in range(num_placed):
        places = store.of_part(store.read(store.placed(job, number)), part)
        levels = slice(-1, None) if job.scheme == "suffix" else slice(None)
        semantic_ids[places["row"].to_numpy(), levels] = codes_of(places)
    name = shard_name(part, len(job.inputs.parts))
    with store.whole_file(job.folder / name) as file:
        pq.write_table(id_table(ids, job.id_name, codes, semantic_ids.astype(code_type(sizes)), {}), file)
