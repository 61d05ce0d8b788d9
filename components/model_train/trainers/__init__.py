"""Training libraries behind one small interface."""
