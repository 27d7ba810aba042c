"""From codes to unique Semantic IDs, and look-ups in them."""

from sid_jax.ids.table import Table

__all__ = ["Table"]
