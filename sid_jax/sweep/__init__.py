"""Hyperparameter search over a config's settings, for distinct codes and high R^2 together."""
