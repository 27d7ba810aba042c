"""Exports of catalogs that do not fit into memory: stages in pieces, on this machine or on a Ray cluster."""
