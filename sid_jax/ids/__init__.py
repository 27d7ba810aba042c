"""From codes to unique Semantic IDs, and look-ups in them."""

from sid_jax.ids.table import IdTable

__all__ = ["IdTable"]
