"""The commands of ``python -m pipelines.datasets``, one module a task."""
