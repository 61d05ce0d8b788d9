"""The published models: `python -m pipelines.models`."""
