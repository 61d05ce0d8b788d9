"""The first half of the preparation: choose images, settle the classes, judge every record, refuse bad data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from components.data_prep.classes import ClassPlan, plan_classes, stop_at_unknown
from components.data_prep.outcome import PrepareOptions
from components.data_prep.quality import Losses, measure_losses, refuse_bad_data, refuse_empty_data, refuse_no_boxes
from components.data_prep.subset import choose_images
from components.data_prep.validate import Checked, validate
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.ledger import Action


@dataclass(frozen=True)
class Cleaned:
    """A dataset in which every record keeps the rules, and what happened to the others.

    Attributes:
        checked: the images and annotations that are left.
        plan: which category became which class.
        losses: how much had to be rejected.
        ledger: every row so far, those of the reader too.
        found: the images as they came in, rejected ones too.
        rest: the dataset without its tables: name, shards and so on.
        fixed_before: records that the reader had mended.
        outside: images that the subset left out.
    """

    checked: Checked
    plan: ClassPlan
    losses: Losses
    ledger: pl.DataFrame
    found: pl.DataFrame
    rest: Dataset
    fixed_before: int
    outside: int


def clean(dataset: Dataset, options: PrepareOptions) -> Cleaned:
    """Choose the subset, settle the classes and judge every record.

    Raises:
        ConfigError: an option does not fit the dataset.
        DataQualityError: too much was rejected or nothing is left.
    """
    categories = dataset.annotations.get_column("category").drop_nulls().unique()
    plan = plan_classes(dataset.classes, categories, options.class_wishes)
    chosen, subset_rows = choose_images(dataset, options.subset, plan.mapping)
    if options.unknown_classes == "stop":
        stop_at_unknown(chosen.annotations, plan)
    refuse_no_boxes(chosen.annotations, plan)
    checked = validate(chosen, plan, options.rule_book)
    losses = measure_losses(chosen, checked)
    ledger = pl.concat([dataset.ledger, subset_rows, checked.ledger])
    refuse_bad_data(losses, ledger, options.max_rejected_share)
    refuse_empty_data(checked.images, checked.annotations, plan.classes)
    return Cleaned(
        checked=checked,
        plan=plan,
        losses=losses,
        ledger=ledger,
        found=dataset.images,
        rest=replace(dataset, images=IMAGES.to_frame(), annotations=ANNOTATIONS.to_frame()),
        fixed_before=dataset.ledger.filter(pl.col("action") == Action.FIXED.value).height,
        outside=subset_rows.height,
    )


def count_records(parts: Mapping[str, Dataset], cleaned: Cleaned, *, fixed: int, balanced: int) -> dict[str, float]:
    """Flat finite numbers for the UI.

    Args:
        parts: the dataset of each split.
        cleaned: what happened before the split.
        fixed: records mended since the reader.
        balanced: images that max_class_share left out of train.
    """
    counts: dict[str, float] = {}
    for split, part in parts.items():
        truth = part.annotations.select("image_id", "kind").filter(pl.col("kind") == "ground_truth")
        counts[f"{split}_images"] = part.images.height
        counts[f"{split}_boxes"] = truth.height
        counts[f"{split}_positives"] = truth.get_column("image_id").n_unique()
        counts[f"{split}_negatives"] = part.images.height - counts[f"{split}_positives"]
    kinds = ("images", "boxes", "positives", "negatives")
    losses = cleaned.losses
    return {
        **{kind: sum(counts[f"{split}_{kind}"] for split in parts) for kind in kinds},
        "found_images": losses.images,
        "found_annotations": losses.annotations,
        "fixed": fixed + cleaned.fixed_before,
        "rejected": losses.rejected_images + losses.rejected_annotations,
        "rejected_images": losses.rejected_images,
        "rejected_annotations": losses.rejected_annotations,
        "rejected_share": losses.share,
        "left_out": sum(cleaned.checked.left_out.values()),
        "left_out_subset_images": cleaned.outside,
        "left_out_balance_images": balanced,
        **counts,
    }
