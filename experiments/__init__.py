"""Experiments: one module a system, run as `python -m experiments.NAME`."""
