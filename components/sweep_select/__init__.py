"""The step that chooses the best model of a sweep."""
