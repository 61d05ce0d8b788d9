"""Step 5: measure the packed model on the test split."""
