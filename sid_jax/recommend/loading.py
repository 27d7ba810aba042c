"""Reads a trained recommender from a folder or workdir, and replaces its ID table or content vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sid_jax.errors import UserError
from sid_jax.paths import as_path
from sid_jax.recommend.artifact import FOLDER, TrainedRecommender, read_recommender


def read_trained(folder: str | Path, *, verify: bool) -> TrainedRecommender:
    """Reads a recommender from its folder, or from the workdir of a finished `sid-jax recommend`.

    Raises:
      UserError: if there is no recommender, or a file is missing or damaged.
    """
    path = as_path(folder)
    if not (path / "manifest.json").exists() and (path / FOLDER).is_dir():
        path = path / FOLDER
    if not path.is_dir() or not (path / "manifest.json").exists():
        raise UserError(
            f"{folder} has no finished recommender; train one, or resume its training, with sid-jax recommend "
            f"--workdir={folder}"
        )
    return read_recommender(path, verify=verify)


def renewed(
    trained: TrainedRecommender, ids: Any, vectors: Any, vector_ids: Any, on_bad_rows: str | None
) -> TrainedRecommender:
    """Returns a recommender with a newer ID table or other content vectors, or both.

    Args:
      trained: the recommender, which is unchanged.
      ids, vectors, vector_ids, on_bad_rows: see `sid_jax.recommender.load_recommender`.

    Raises:
      UserError: see `sid_jax.recommender.load_recommender`.
    """
    if ids is None and vectors is None:
        return trained
    # This module is imported here, since loading a recommender without changes does not need Flax.
    from sid_jax.recommend.newer_table import with_content_of_files, with_newer_table

    if ids is not None:
        trained = with_newer_table(trained, ids)
    return trained if vectors is None else with_content_of_files(trained, vectors, vector_ids, on_bad_rows)
