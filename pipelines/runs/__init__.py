"""The runs of this machine and of a cluster: `python -m pipelines.runs`."""
