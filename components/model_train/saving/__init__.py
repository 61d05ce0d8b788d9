"""Checkpoints: what a training goes on from, kept in the store."""
