"""Semantic IDs for recommendation, in JAX: trains an RQ-VAE on item vectors, and gives every item a unique ID.

SemanticIdTokenizer    turns item vectors [N, D] into unique Semantic IDs: fit, encode, decode, append, save
Recommender            recommends items for interaction histories by scoring all items: fit, recommend, explain, save
GenerativeRecommender  recommends items for interaction histories by generating the next item's Semantic ID
JointQuantizer         is a quantizer that is trained inside your own model, and then becomes a tokenizer with fixed IDs
load                   reads a saved tokenizer (an export) or recommender from its folder
IdTable                is a table of items and their Semantic IDs, with look-ups in both directions
UserError              is the exception for unusable input, with a one-line message
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sid_jax.errors import UserError
    from sid_jax.ids.table import IdTable
    from sid_jax.joint_quantizer.quantizer import JointQuantizer
    from sid_jax.loading import load
    from sid_jax.recommender import GenerativeRecommender, Recommender
    from sid_jax.tokenizer import SemanticIdTokenizer

__version__ = "0.2.0"

__all__ = [
    "GenerativeRecommender",
    "IdTable",
    "JointQuantizer",
    "Recommender",
    "SemanticIdTokenizer",
    "UserError",
    "__version__",
    "load",
]

# A name's module is imported when the name is first used, so that `import sid_jax` takes milliseconds and does not
# import JAX.
_MODULES = {
    "GenerativeRecommender": "sid_jax.recommender",
    "IdTable": "sid_jax.ids.table",
    "JointQuantizer": "sid_jax.joint_quantizer.quantizer",
    "Recommender": "sid_jax.recommender",
    "SemanticIdTokenizer": "sid_jax.tokenizer",
    "UserError": "sid_jax.errors",
    "load": "sid_jax.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
