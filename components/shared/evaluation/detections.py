"""What a detector found in an image, as rows of a table."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from components.shared.boxes import corners_to_size
from components.shared.detection.detector import Detections
from components.shared.evaluation.outcomes import DETECTIONS


def detection_table(image_id: int, found: Detections, classes: Sequence[str]) -> pl.DataFrame:
    """The boxes with the columns of ``outcomes.DETECTIONS``, in their order; those that are no numbers are left out.

    Args:
        image_id: of the image.
        found: what the detector gave.
        classes: its class names; a label is an index into them.
    """
    x, y, width, height = corners_to_size(found.boxes).T
    sound = np.isfinite(found.scores) & np.isfinite(found.boxes).all(axis=1)
    table = pl.DataFrame(
        {
            "image_id": np.full(len(found.scores), image_id, dtype=np.uint32),
            "category": [classes[label] for label in found.labels.tolist()],
            "score": found.scores,
            "x": x,
            "y": y,
            "width": width,
            "height": height,
        },
        schema=DETECTIONS,
    )
    return table.filter(pl.Series(sound))
