"""Step 6: prove that the packed model is the trained one."""
