"""Semantic IDs as tokens of a language model: new tokens, constrained generation, evaluation.

IdTokens    a catalog's items and Semantic IDs as tokens of one language model
id_tokens   makes them of an export, or of the folder that `sid-jax tokens` writes
add_tokens  adds them to a tokenizer and a model, with first embeddings
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sid_jax.errors import UserError

if TYPE_CHECKING:
    from sid_jax.llm.new_tokens import add_tokens
    from sid_jax.llm.tokens import IdTokens, id_tokens

# Imported when first used: most of them import PyTorch and transformers. No module has the name of a function here,
# which it would hide once it is imported.
_MODULES = {
    "IdTokens": "sid_jax.llm.tokens",
    "add_tokens": "sid_jax.llm.new_tokens",
    "id_tokens": "sid_jax.llm.tokens",
}

__all__ = [
    "IdTokens",
    "add_tokens",
    "id_tokens",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in ("torch", "transformers"):
            raise
        raise UserError(
            f"sid_jax.llm.{name} needs {missing}: run pip install 'sid_jax[llm]', which installs transformers, and "
            "install PyTorch for your device"
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
