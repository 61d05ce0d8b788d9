"""The DAGs and the commands that run them."""
