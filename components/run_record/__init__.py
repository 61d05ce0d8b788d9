"""The exit handler: what is kept of a run, however it ended."""
