"""What data_prep is asked for and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from components.data_prep.classes import ClassPlan, ClassWishes
from components.data_prep.groups import GroupSummary
from components.data_prep.hashed import RESCUED, SplitPlan
from components.data_prep.leaks import PAIRS
from components.data_prep.rules import RuleBook
from components.data_prep.stratify import DEVIATION
from components.data_prep.subset import parse_subset
from components.data_prep.tiles import TileOptions
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError
from components.shared.grouping import check_group_by
from components.shared.rules import resolve_rules

MOST_BITS = 16  # of 64 that near-duplicates may differ in; unrelated pictures differ in about 32


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
        subset: expression on the images' columns that says which to keep; empty: all.
        drop_classes: classes to leave out.
        unknown_classes: what to do with annotations of a class the dataset does not declare: ``ignore`` rejects
            them, ``add`` makes it a class, ``stop`` fails.
        rules: rule -> ``fix``, ``reject`` or ``keep``, where it shall not be the default; see ``shared.rules``.
        max_class_share: the largest share of the training boxes a class may have; 1: any.
        oversample_below: classes on less than this share of the training images are shown more often; 0: none.
        val_images: size of val in images instead of ``val_share``; 0: by share.
        test_images: size of test in images instead of ``test_share``; 0: by share.
        group_by: what keeps images together: ``folder``, ``tag:<name>`` or ``name:<pattern>``; empty: nothing.
        near_duplicates: images whose perceptual hashes differ in at most this many of 64 bits stay together; -1: off.
        tile: edge of the tiles that larger training and validation images are cut into, pixels; 0: no tiles.
        tile_overlap: share of its edge a tile has in common with the next one.
        tile_min_visible: least share of a box inside a tile for the tile to show it.
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
    subset: str = ""
    drop_classes: tuple[str, ...] = ()
    unknown_classes: str = "ignore"
    rules: Mapping[str, str] = field(default_factory=dict)
    max_class_share: float = 1.0
    oversample_below: float = 0.0
    val_images: int = 0
    test_images: int = 0
    group_by: str = ""
    near_duplicates: int = 4
    tile: int = 0
    tile_overlap: float = 0.2
    tile_min_visible: float = 0.3

    def check(self) -> None:
        """Refuse values that make no sense, whatever the dataset.

        Raises:
            ConfigError: with the option and its value.
        """
        self.split_plan.check()
        self.class_wishes.check()
        resolve_rules(self.rules)
        parse_subset(self.subset)
        check_group_by(self.group_by)
        if not -1 <= self.near_duplicates <= MOST_BITS:
            raise ConfigError(f"near_duplicates is {self.near_duplicates!r}; use 0 to {MOST_BITS} bits, or -1 for off.")
        self.tile_options.check()
        if not 0 <= self.min_box_size < float("inf"):
            raise ConfigError(f"min_box_size is {self.min_box_size!r} pixels; it must be 0 or more.")
        if not 0 <= self.max_rejected_share <= 1:
            raise ConfigError(f"max_rejected_share is {self.max_rejected_share!r}; it must lie between 0 and 1.")
        if not 0 < self.max_class_share <= 1:
            raise ConfigError(f"max_class_share is {self.max_class_share!r}; it must be above 0 and at most 1.")
        if not 0 <= self.oversample_below <= 1:
            raise ConfigError(f"oversample_below is {self.oversample_below!r}; it must lie between 0 and 1.")

    @property
    def split_plan(self) -> SplitPlan:
        """What is asked of the split."""
        return SplitPlan(self.shares, self.split, self.seed, {"val": self.val_images, "test": self.test_images})

    @property
    def shares(self) -> dict[str, float]:
        """Share of each split."""
        return {"train": self.train_share, "val": self.val_share, "test": self.test_share}

    @property
    def tile_options(self) -> TileOptions:
        """How large images are cut."""
        return TileOptions(self.tile, self.tile_overlap, self.tile_min_visible, self.min_box_size, self.seed)

    @property
    def class_wishes(self) -> ClassWishes:
        """What is asked of the classes."""
        return ClassWishes(self.class_aliases, self.target_classes, self.drop_classes, self.unknown_classes)

    @property
    def rule_book(self) -> RuleBook:
        """What is done about each rule.

        Raises:
            ConfigError: a rule or what it shall do does not exist.
        """
        return RuleBook(self.min_box_size, resolve_rules(self.rules))


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
        deviation: columns of ``stratify.DEVIATION``: the share of each class in each split and what was wanted.
        rescued: columns of ``hashed.RESCUED``: images moved away from their place so that each split is of use.
        groups: number and largest of the groups of images that belong together.
        near_duplicates: columns of ``leaks.PAIRS``, at most some thousands: those across splits first.
        flags: sentences on groups, split, tiles and balance that a person should look at.
        balance: a row a class of train: ``class``, ``boxes_before``, ``share_before``, ``boxes_after`` and
            ``share_after`` that max_class_share left out images; ``None`` when it was not asked for.
        repeats: a row a class of train: ``class``, ``factor``, and ``share_before`` and ``share_after``, the share of
            the images of an epoch it is on; ``None`` when oversample_below was not asked for.
    """

    found: pl.DataFrame
    ledger: pl.DataFrame
    left_out: dict[str, int]
    plan: ClassPlan
    method: str
    parent: str
    deviation: pl.DataFrame = field(default_factory=DEVIATION.to_frame)
    rescued: pl.DataFrame = field(default_factory=RESCUED.to_frame)
    groups: GroupSummary = field(default_factory=lambda: GroupSummary(0, 0))
    near_duplicates: pl.DataFrame = field(default_factory=PAIRS.to_frame)
    flags: tuple[str, ...] = ()
    balance: pl.DataFrame | None = None
    repeats: pl.DataFrame | None = None


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
