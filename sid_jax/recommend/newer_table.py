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
from sid_jax.recommend.data.content import load_content


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


def with_content_of_files(
    trained: TrainedRecommender, vectors: str | Path, vector_ids: str | Path, on_bad_rows: str | None
) -> TrainedRecommender:
    """Returns a recommender with the items' content vectors from files; see `load_recommender`.

    Raises:
      UserError: if the files cannot be read, or an item that may be recommended has no vector.
    """
    config = trained.config.copy_and_resolve_references()
    data = config.quantizer.data
    if data.source != "vectors":  # The files of a named catalog do not contain newer items.
        data.source, data.text_column = "vectors", ""
    data.path, data.ids_path = str(vectors), str(vector_ids)
    data.on_bad_rows = on_bad_rows or data.on_bad_rows
    candidates = trained.candidates
    content = load_content(
        config, candidates.table.item_ids, candidates.cold, candidates.available, option='on_bad_rows="drop"'
    )
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
