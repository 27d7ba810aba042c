"""The pieces of `benchmarks/which_metric.py`."""
