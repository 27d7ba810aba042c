"""Reads files with any number N of vectors in parts, so that memory does not grow with N."""
