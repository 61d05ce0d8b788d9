"""The training report and its pictures."""
