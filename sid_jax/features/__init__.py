"""Item features from Semantic IDs: rows of a ranking model's embedding table."""
