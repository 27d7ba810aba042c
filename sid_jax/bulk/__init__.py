"""Exports catalogs that do not fit into memory, in stages, on one machine or on a Ray cluster.

Each stage is split into pieces that run independently. In this package, a *part* is a range of rows of a file of
vectors (`sid_jax.data.parts.part.Part`).
"""
