"""Applies a trained recommender to a newer version of its ID table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from sid_jax.errors import UserError
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.ids.table import IdTable
from sid_jax.recommend.artifact import TrainedRecommender
from sid_jax.recommend.config import GENERATIVE, WITHOUT_IDS
from sid_jax.recommend.data.content import content_in_memory, load_content

_DROPPING = 'on_bad_rows="drop"'


def with_newer_table(trained: TrainedRecommender, ids: Any) -> TrainedRecommender:
    """Returns the recommender with a newer version of its ID table. The new items are cold.

    Raises:
      UserError: if the model uses no Semantic IDs, or the table is not a newer version.
    """
    kind = trained.config.model.kind
    if kind in WITHOUT_IDS:
        raise UserError(
            f"a recommender of the kind {kind!r} uses no Semantic IDs, so it cannot recommend newer items; omit ids, "
            "or train another kind"
        )
    candidates = trained.candidates.with_newer_table(table_of(ids))
    if kind in GENERATIVE and len(candidates.table) > candidates.num_trained:
        # Content vectors are removed, since slots for cold items need the vectors of all cold items. The new items are
        # cold, and have no saved vectors.
        candidates = dataclasses.replace(candidates, content=None)
    return dataclasses.replace(trained, candidates=candidates)


def with_content(
    trained: TrainedRecommender, vectors: Any, vector_ids: str | Path, on_bad_rows: str | None
) -> TrainedRecommender:
    """Returns a recommender with other content vectors, from files or in memory; see `load_recommender`.

    Raises:
      UserError: if the vectors cannot be used, or an item that may be recommended has no vector.
    """
    config = trained.config.copy_and_resolve_references()
    data = config.quantizer.data
    if data.source != "vectors":  # The files of a named catalog do not contain newer items.
        data.source, data.text_column = "vectors", ""
    data.on_bad_rows = on_bad_rows or data.on_bad_rows
    candidates = trained.candidates
    ids, cold, available = candidates.table.item_ids, candidates.cold, candidates.available
    if isinstance(vectors, (str, Path)):
        data.path, data.ids_path = str(vectors), str(vector_ids)
        content = load_content(config, ids, cold, available, option=_DROPPING)
    elif str(vector_ids):
        raise UserError(
            f"vector_ids is {str(vector_ids)!r}, but the vectors are in memory; omit it, and give the vectors in the "
            "order of the ID table or as a mapping of item ids to vectors"
        )
    else:
        content = content_in_memory(vectors, ids, cold, data, available=available, option=_DROPPING)
    return dataclasses.replace(trained, candidates=dataclasses.replace(candidates, content=content))


def table_of(ids: Any) -> IdTable:
    """Returns the ID table of a tokenizer, an export or a path, or the given table itself.

    Raises:
      UserError: if `ids` is none of these, or the path has no IDs.
    """
    if isinstance(ids, (str, Path)):
        return read_id_table(*parse_id_source(str(ids)))
    table = ids if isinstance(ids, IdTable) else getattr(ids, "table", None)
    if not isinstance(table, IdTable):
        raise UserError(
            f"the Semantic IDs have the type {type(ids).__name__}; "
            "give a fitted SemanticIdTokenizer, an IdTable or a path"
        )
    return table
