"""Uses an export without JAX: computes codes of vectors, looks up items, and finds free Semantic IDs, with NumPy.

    from sid_jax import lite

    tokenizer = lite.load("exports/items")
    tokenizer.encode(vectors)          # [n, L] int32, the same codes as with JAX
    tokenizer.table.semantic_id(17)    # (12, 4, 91)
    tokenizer.free_id(vector)          # a Semantic ID for an item that has none yet

This package imports neither JAX nor the rest of sid_jax. `pip install ./sid_jax/lite` installs this package
alone, as `sid_jax_lite`.
"""

from .model import Model
from .table import Table
from .tokenizer import LiteTokenizer, load

__all__ = ["LiteTokenizer", "Model", "Table", "load"]
