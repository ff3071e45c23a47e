"""Experiments: one module per system, run as `python -m experiments.NAME`."""
