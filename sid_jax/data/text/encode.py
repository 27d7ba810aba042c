"""Texts into vectors: one function, whichever encoder is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sid_jax.data.reason import reason
from sid_jax.errors import UserError


def encode_texts(texts: Sequence[str], encoder: str = "wordllama") -> np.ndarray:
    """Returns `[N, D]` float32 vectors, not normalised: scaling belongs to the model.

    Args:
      texts: N texts.
      encoder: "wordllama" (D = 256; in its package, so that nothing is downloaded), or the name or folder of a
        sentence-transformers model.

    Raises:
      UserError: if sentence-transformers is needed and missing, or has no such model.
    """
    encode = _wordllama if encoder == "wordllama" else _sentence_transformers
    return np.asarray(encode(list(texts), encoder), dtype=np.float32)


def _wordllama(texts: list[str], encoder: str) -> np.ndarray:
    del encoder
    import wordllama

    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True).embed(texts)


def _sentence_transformers(texts: list[str], encoder: str) -> np.ndarray:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            f"data.text_encoder={encoder} is a sentence-transformers model: run pip install -e .[text], "
            "or use the built-in wordllama"
        ) from error
    try:
        model = SentenceTransformer(encoder)
    except (OSError, ValueError) as error:
        raise UserError(
            f"data.text_encoder={encoder}: sentence-transformers cannot load it ({reason(error)}); "
            "name a model or folder that it knows, or use the built-in wordllama"
        ) from error
    return model.encode(texts, convert_to_numpy=True, show_progress_bar=False)
