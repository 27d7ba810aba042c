"""Hyperparameter search over a config's settings, for both distinct codes and a high R^2."""
