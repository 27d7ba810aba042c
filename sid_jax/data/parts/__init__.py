"""Files of vectors of any length, read in parts: memory does not grow with N."""
