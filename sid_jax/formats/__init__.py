"""Writes Semantic IDs, histories and items in the file formats of other tools, with one module per tool."""
