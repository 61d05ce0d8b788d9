"""Container images as files: read without a container tool, and without trusting a byte."""
