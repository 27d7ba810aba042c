"""Reads vector files in parts (ranges of rows), so that memory does not grow with the number of vectors."""
