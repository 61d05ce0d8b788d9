"""Kubeflow Pipelines as a backend: how it is found and asked, what is sent to it, and its errors as sentences."""
