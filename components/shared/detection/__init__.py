"""Models that turn images into boxes, and how boxes are matched."""
