"""How good recommendations are: item-level metrics with intervals, and their tables."""
