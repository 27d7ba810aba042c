"""Loads a saved Semantic ID tokenizer (an export) or recommender."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from sid_jax.errors import UserError
from sid_jax.paths import as_path

if TYPE_CHECKING:
    from sid_jax.recommender import Recommender
    from sid_jax.tokenizer import SemanticIdTokenizer


def load(folder: str | Path, *, verify: bool = False) -> SemanticIdTokenizer | Recommender:
    """Loads a Semantic ID tokenizer or a recommender from its folder. Nothing is trained or written.

    Args:
      folder: Written by `SemanticIdTokenizer.save`, `Recommender.save` or a command. A recommender can also be loaded
        from the workdir of a finished `sid-jax recommend`.
      verify: Whether to compare the SHA-256 of every file with the manifest first.

    Raises:
      UserError: If the folder contains neither a tokenizer nor a recommender, or a file is missing or damaged.
    """
    path = as_path(folder)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give a folder that save() or a command wrote")
    for place in (path, path / "recommender"):
        if _kind(place / "manifest.json") == "recommender":
            from sid_jax.recommender import load_recommender

            return load_recommender(place, verify=verify)
    if (path / "run.json").exists() and not (path / "manifest.json").exists():
        raise UserError(
            f"{path} is the workdir of a training run, which has no Semantic IDs; load an export, which sid-jax export "
            f"--workdir={path} --out=DIR writes"
        )
    from sid_jax.export.artifact import load_export
    from sid_jax.tokenizer import SemanticIdTokenizer

    return SemanticIdTokenizer.from_export(load_export(path, verify=verify))


def _kind(manifest: Path) -> str | None:
    """Returns the kind of artifact that a manifest names; None if there is no readable manifest."""
    try:
        content = json.loads(manifest.read_text())
    except (OSError, ValueError):
        return None
    return content.get("kind", "export") if isinstance(content, dict) else None
