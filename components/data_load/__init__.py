"""Step 1: bring annotated images into the store as a dataset version."""
