"""What annotated images look like, in numbers, charts and pictures: shared by the reports of several steps."""
