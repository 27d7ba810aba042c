"""Metrics of codes, Semantic IDs and reconstructions, each computed in one place."""
