"""Whether a run has anything to do that the champion does not come from already."""
