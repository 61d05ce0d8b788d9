"""Step 2: check, repair and split a dataset."""
