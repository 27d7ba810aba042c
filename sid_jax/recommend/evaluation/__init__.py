"""Evaluation of recommenders: item-level metrics with bootstrap intervals, and their tables."""
