"""The alignment of files of any length: only items that the old table has are kept in mind."""

from __future__ import annotations

import numpy as np

from sid_jax.data.parts.vector_parts import VectorParts
from sid_jax.export.alignment import Alignment, find_alignment
from sid_jax.export.common_items import common_rows
from sid_jax.export.id_tables import IdTable
from sid_jax.export.load import ITEMS_A_CALL, encode_vectors
from sid_jax.models.rqvae import RQVAE

_ROWS_A_BLOCK = 8 * ITEMS_A_CALL


def align_parts(to: IdTable, parts: VectorParts, model: RQVAE) -> Alignment:
    """Finds the renumbering of a model that brings the parts' codes nearest to old IDs (see `find_alignment`)."""
    rows, codes = [], []
    for number in range(len(parts.parts)):
        for ids, vectors in parts.blocks(number, _ROWS_A_BLOCK):
            mine, theirs = common_rows(np.asarray(ids), to.item_ids)
            rows.append(theirs)
            codes.append(encode_vectors(model, vectors[mine]))
    return find_alignment(to, np.concatenate(rows), np.concatenate(codes), model.quantizer.codebook_sizes)
