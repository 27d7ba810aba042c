"""Data of a recommender: IDs, candidates, histories, content vectors, packed training examples."""
