"""Training of a recommender: the training step, the training loop, and the blend."""
