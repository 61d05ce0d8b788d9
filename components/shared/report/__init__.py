"""Self-contained HTML reports: one template, small chart functions."""
