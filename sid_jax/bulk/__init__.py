"""Exports catalogs that do not fit into memory, in stages and pieces, on one machine or on a Ray cluster."""
