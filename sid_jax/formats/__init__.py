"""Semantic IDs, histories and items in the files of other tools: a file for each tool, and one registry of them."""
