"""Exports catalogs that do not fit into memory, in stages of many pieces, on this machine or on a Ray cluster."""
