"""Catalogs that have a name, prepared once and kept in the cache."""
