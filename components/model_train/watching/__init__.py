"""What looks after a training while it runs."""
