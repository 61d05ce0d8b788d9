"""Where a pipeline runs: this machine or a cluster."""
