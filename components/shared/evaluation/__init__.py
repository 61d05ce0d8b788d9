"""How good predictions are, by the numbers that more than one step needs: outcomes, COCO metrics, thresholds."""
