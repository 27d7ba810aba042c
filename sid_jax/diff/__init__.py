"""What became of items and their Semantic IDs between two tables."""
