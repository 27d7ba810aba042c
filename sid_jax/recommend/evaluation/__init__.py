"""Evaluation of recommenders: metrics of recommendation lists with bootstrap intervals, and their tables."""
