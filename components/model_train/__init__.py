"""Step 3: train a detector."""
