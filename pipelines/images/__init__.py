"""The images of the steps and of a packed model: their contents, locks, style and builds."""
