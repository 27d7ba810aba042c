"""Semantic IDs as new tokens of a language model."""
