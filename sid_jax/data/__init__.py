"""Catalogs, vectors, histories and texts: from files or from memory to what training takes."""
