"""What would break a run: `python -m pipelines.doctor`."""
