"""Makes unique Semantic IDs from codes, and looks up items and their IDs in the ID table."""

from sid_jax.ids.table import IdTable

__all__ = ["IdTable"]
