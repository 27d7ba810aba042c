"""The RQ-VAE as Flax NNX modules."""
