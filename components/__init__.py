"""The seven steps of the pipeline, one folder a step, and what they share."""
