"""Training of a recommender: its step, and its job in the run loop."""
