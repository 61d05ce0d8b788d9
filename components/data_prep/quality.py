"""How much of the data had to be rejected, and whether that is too much."""

from dataclasses import dataclass

import polars as pl

from components.data_prep.classes import ClassPlan
from components.data_prep.validate import Checked
from components.shared.dataset import Dataset
from components.shared.errors import DataQualityError
from components.shared.ledger import Action

TOP_RULES = 3  # how many rules an error names


@dataclass(frozen=True)
class Losses:
    """Rejected records and what they are a share of; annotations of classes nobody asked for count in neither."""

    images: int
    annotations: int
    rejected_images: int
    rejected_annotations: int

    @property
    def share(self) -> float:
        """The larger of the rejected share of the images and of the annotations."""
        return max(
            self.rejected_images / max(self.images, 1),
            self.rejected_annotations / max(self.annotations, 1),
        )


def measure_losses(dataset: Dataset, checked: Checked) -> Losses:
    """Count what was rejected here and what the reader had rejected before (those records are in no table)."""
    before = dataset.ledger.filter(pl.col("action") == Action.REJECTED.value)
    images = before.get_column("annotation").null_count()
    annotations = before.height - images
    return Losses(
        images=dataset.images.height + images,
        annotations=dataset.annotations.height - sum(checked.left_out.values()) + annotations,
        rejected_images=checked.images_rejected + images,
        rejected_annotations=checked.annotations_rejected + annotations,
    )


def refuse_bad_data(losses: Losses, ledger: pl.DataFrame, limit: float) -> None:
    """Stop when too much was rejected.

    Raises:
        DataQualityError: the share is above ``limit``; the sentence names the rules that rejected most.
    """
    if losses.share <= limit:
        return
    rejected = ledger.filter(pl.col("action") == Action.REJECTED.value)
    counts = rejected.get_column("rule").value_counts(sort=True).sort("count", "rule", descending=[True, False])
    rules = ", ".join(f"{count} {rule}" for rule, count in counts.head(TOP_RULES).iter_rows())
    raise DataQualityError(
        f"{losses.rejected_images} of {losses.images} images and {losses.rejected_annotations} of "
        f"{losses.annotations} annotations had to be rejected, {losses.share:.1%}, which is more than "
        f"max_rejected_share {limit!r} allows (records by rule: {rules}): mend the source or raise the limit."
    )


def refuse_no_boxes(annotations: pl.DataFrame, plan: ClassPlan) -> None:
    """Stop when every annotation is of a class that is left out on request.

    Raises:
        DataQualityError: with the classes that were kept.
    """
    known = (
        annotations.get_column("category")
        .drop_nulls()
        .replace_strict(plan.mapping, default=None, return_dtype=pl.String)
    )
    known = known.drop_nulls()
    if known.len() and not known.is_in(list(plan.classes)).any():
        raise DataQualityError(
            f"No annotation is of the classes {', '.join(map(repr, plan.classes[:10]))}; all {known.len()} are of "
            "classes that target_classes or drop_classes leave out: change these."
        )


def refuse_empty_data(images: pl.DataFrame, annotations: pl.DataFrame, classes: tuple[str, ...]) -> None:
    """Stop when there is nothing to train on.

    Raises:
        DataQualityError: no image or no ground truth box is left.
    """
    if images.is_empty():
        raise DataQualityError(
            "No usable image is left: look at the images of the source, and whether its paths are right."
        )
    if annotations.filter(pl.col("kind") == "ground_truth").is_empty():
        raise DataQualityError(
            f"No box of the classes {', '.join(classes[:10]) or 'of the dataset'} is left in {images.height} images: "
            "look at the annotations of the source, and at target_classes."
        )
