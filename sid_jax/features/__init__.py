"""Rows of a ranker's embedding table that stand for items, by their Semantic IDs."""
