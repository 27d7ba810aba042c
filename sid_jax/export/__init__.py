"""Exports: a trained model and its ID table, in memory and as a folder."""
