"""Semantic IDs as tokens of a language model: new tokens, training data, constrained generation, evaluation.

add_tokens                 adds an export's tokens to a text tokenizer and a transformers model, with embeddings
IdTokens                   a catalog's items and Semantic IDs as tokens of one language model
id_tokens                  makes `IdTokens` from an export, or from the folder that `sid-jax tokens` writes
write_training_data        writes training data: the tasks on which a model learns next items, IDs and titles
fine_tune                  trains a small model on the training data
SemanticIdLogitsProcessor  constrains `generate` of transformers to existing IDs
allowed_tokens             the same constraint as a function, for `prefix_allowed_tokens_fn`
logits_mask                the same constraint in JAX, for a model in Flax
generate_ids               generates IDs by beam search
evaluate_generation        computes recall and NDCG of generated IDs, compared with popularity and item-kNN
grammar                    writes the existing IDs as a grammar, for vLLM, SGLang and other engines
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sid_jax.errors import UserError

if TYPE_CHECKING:
    from sid_jax.llm.constraint import SemanticIdLogitsProcessor, allowed_tokens
    from sid_jax.llm.evaluation import evaluate_generation
    from sid_jax.llm.fine_tuning import fine_tune
    from sid_jax.llm.generation import generate_ids
    from sid_jax.llm.grammars import grammar
    from sid_jax.llm.jax_mask import logits_mask
    from sid_jax.llm.new_tokens import add_tokens
    from sid_jax.llm.tokens import IdTokens, id_tokens
    from sid_jax.llm.training_data import write_training_data

# These modules are imported on first use, since most of them import PyTorch and transformers. Modules and functions
# must have different names, since an imported module would hide the function of the same name.
_MODULES = {
    "IdTokens": "sid_jax.llm.tokens",
    "SemanticIdLogitsProcessor": "sid_jax.llm.constraint",
    "add_tokens": "sid_jax.llm.new_tokens",
    "allowed_tokens": "sid_jax.llm.constraint",
    "evaluate_generation": "sid_jax.llm.evaluation",
    "fine_tune": "sid_jax.llm.fine_tuning",
    "generate_ids": "sid_jax.llm.generation",
    "grammar": "sid_jax.llm.grammars",
    "id_tokens": "sid_jax.llm.tokens",
    "logits_mask": "sid_jax.llm.jax_mask",
    "write_training_data": "sid_jax.llm.training_data",
}

__all__ = [
    "IdTokens",
    "SemanticIdLogitsProcessor",
    "add_tokens",
    "allowed_tokens",
    "evaluate_generation",
    "fine_tune",
    "generate_ids",
    "grammar",
    "id_tokens",
    "logits_mask",
    "write_training_data",
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
