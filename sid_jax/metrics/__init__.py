"""Metrics of codes, Semantic IDs and reconstructions."""
