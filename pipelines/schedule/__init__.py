"""Runs by the clock: `python -m pipelines.schedule`."""
