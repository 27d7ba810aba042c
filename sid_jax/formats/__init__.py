"""Writes Semantic IDs, histories and items in the files of other tools: one module per tool, and a registry."""
