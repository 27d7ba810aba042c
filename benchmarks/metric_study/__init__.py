"""The parts of `benchmarks/which_metric.py`."""
