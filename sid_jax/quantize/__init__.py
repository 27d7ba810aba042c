"""Residual quantization as pure functions of arrays: nearest codes, estimators, losses, k-means."""
