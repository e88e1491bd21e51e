"""Timings of the numerical core: ``python -m benchmarks``."""
