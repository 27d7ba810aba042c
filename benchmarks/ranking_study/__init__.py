"""The parts of `benchmarks/ranking.py`: rankers with Semantic IDs as features, on MovieLens."""
