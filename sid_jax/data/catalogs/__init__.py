"""Named catalogs (MovieLens, Amazon), prepared once and kept in the cache."""
