"""Measures anyone's Semantic IDs."""
