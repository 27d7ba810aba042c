"""Reads a trained recommender from a folder or workdir, and replaces its ID table or content vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sid_jax.errors import UserError
from sid_jax.paths import as_path
from sid_jax.recommend.artifact import FOLDER, TrainedRecommender, read_recommender
from sid_jax.wording import counted


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
    # These modules are imported here, since loading a recommender without changes needs neither Flax nor rich.
    from sid_jax.messages import LOGGER
    from sid_jax.recommend.newer_table import with_content, with_newer_table

    had_content = trained.candidates.content is not None
    if ids is not None:
        trained = with_newer_table(trained, ids)
    if vectors is not None:
        return with_content(trained, vectors, vector_ids, on_bad_rows)
    num_new = len(trained.candidates.table) - trained.candidates.num_trained
    if had_content and num_new > 0:
        words = counted(num_new, "new item has", "new items have")
        LOGGER.warning("%s no content vectors; give `vectors`, the vectors of all items", words)
    return trained
