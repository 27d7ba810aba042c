"""Modules of `benchmarks/ranking.py`, which compares rankers with Semantic IDs as features, on MovieLens."""
