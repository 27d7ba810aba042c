"""Training of a recommender: the training step, the job of the run loop, and the blend."""
