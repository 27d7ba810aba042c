"""Makes codes unique Semantic IDs, and provides look-ups in the ID table."""

from sid_jax.ids.table import IdTable

__all__ = ["IdTable"]
