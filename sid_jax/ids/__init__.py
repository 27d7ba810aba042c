"""Makes codes unique Semantic IDs, and looks them up in the ID table."""

from sid_jax.ids.table import IdTable

__all__ = ["IdTable"]
