"""Named catalogs (MovieLens, Amazon), whose data is prepared once and then read from the cache."""
