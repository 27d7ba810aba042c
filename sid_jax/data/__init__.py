"""Reads catalogs, vectors, histories and texts from files or memory, in the form that training needs."""
