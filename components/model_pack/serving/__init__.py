"""The service of a packed model: what it takes in, what it answers, and what it tells about itself."""
