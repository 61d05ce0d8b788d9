"""What data_prep is asked for and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from components.data_prep.classes import ClassPlan
from components.data_prep.split import check_shares
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError


@dataclass(frozen=True)
class PrepareOptions:
    """How to clean and split a dataset.

    Attributes:
        seed: other seed, other split.
        train_share: share of the images for training; the three shares are positive and sum to 1.
        val_share: share to choose the best epoch by.
        test_share: share to measure the finished model on.
        target_classes: classes to keep; empty means all.
        class_aliases: name -> class; several names of one class merge it.
        min_box_size: least length of a box's shorter side, pixels.
        max_rejected_share: fail when more than this share of the images or of the annotations is rejected.
        split: ``auto`` keeps the source's splits where it has them, ``random`` never, ``source`` insists on them.
    """

    seed: int = 0
    train_share: float = 0.7
    val_share: float = 0.15
    test_share: float = 0.15
    target_classes: tuple[str, ...] = ()
    class_aliases: Mapping[str, str] = field(default_factory=dict)
    min_box_size: float = 2.0
    max_rejected_share: float = 0.2
    split: str = "auto"

    def check(self) -> None:
        """Refuse values that make no sense, whatever the dataset.

        Raises:
            ConfigError: with the option and its value.
        """
        check_shares(self.shares, self.split)
        if not 0 <= self.min_box_size < float("inf"):
            raise ConfigError(f"min_box_size is {self.min_box_size!r} pixels; it must be 0 or more.")
        if not 0 <= self.max_rejected_share <= 1:
            raise ConfigError(f"max_rejected_share is {self.max_rejected_share!r}; it must lie between 0 and 1.")

    @property
    def shares(self) -> dict[str, float]:
        """Share of each split."""
        return {"train": self.train_share, "val": self.val_share, "test": self.test_share}


@dataclass(frozen=True)
class Audit:
    """What happened on the way, for the report.

    Attributes:
        found: the images as they came in, rejected ones too.
        ledger: every ledger row, those of the reader too.
        left_out: annotations of classes nobody asked for, by class.
        plan: which category became which class.
        method: one sentence on how the split was made.
        parent: version of the dataset that was prepared.
    """

    found: pl.DataFrame
    ledger: pl.DataFrame
    left_out: dict[str, int]
    plan: ClassPlan
    method: str
    parent: str


@dataclass(frozen=True)
class Prepared:
    """Three clean datasets without common content.

    Attributes:
        counts: flat finite numbers for the UI.
        audit: what happened to the rest.
    """

    train: Dataset
    val: Dataset
    test: Dataset
    counts: dict[str, float]
    audit: Audit

    @property
    def splits(self) -> dict[str, Dataset]:
        """The three datasets by split."""
        return {"train": self.train, "val": self.val, "test": self.test}
