"""Exports catalogs that do not fit into memory, in stages and pieces, on this machine or on a Ray cluster."""
