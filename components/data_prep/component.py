"""The KFP shell of data_prep."""

from kfp.dsl import HTML, Dataset, Input, Markdown, Metrics, Output, component


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def data_prep(
    dataset: Input[Dataset],
    store: str,
    train: Output[Dataset],
    val: Output[Dataset],
    test: Output[Dataset],
    summary: Output[Metrics],
    report: Output[HTML],
    overview: Output[Markdown],
    subset: str = "",
    target_classes: list[str] = [],  # noqa: B006 - kfp reads the default, nobody changes it
    drop_classes: list[str] = [],  # noqa: B006 - same
    class_aliases: dict[str, str] = {},  # noqa: B006 - same
    unknown_classes: str = "ignore",
    rules: dict[str, str] = {},  # noqa: B006 - same
    min_box_size: float = 2.0,
    max_rejected_share: float = 0.2,
    split: str = "auto",
    train_share: float = 0.7,
    val_share: float = 0.15,
    test_share: float = 0.15,
    val_images: int = 0,
    test_images: int = 0,
    group_by: str = "",
    near_duplicates: int = 4,
    max_class_share: float = 1.0,
    oversample_below: float = 0.0,
    tile: int = 0,
    tile_overlap: float = 0.2,
    tile_min_visible: float = 0.3,
    seed: int = 0,
) -> None:
    """Check and repair every record, choose classes, and split into train, val and test.

    Args:
        dataset: The dataset as loaded.
        store: Where its images lie.
        train: What the training sees.
        val: What it is validated on.
        test: What the evaluation alone sees.
        summary: Counts of images, boxes, repairs and rejections.
        report: What was found, repaired and split, for a person.
        overview: The same in a few lines of Markdown.
        subset: Expression that says which images to use; empty: all.
        target_classes: Classes to keep; empty: all.
        drop_classes: Classes to leave out.
        class_aliases: Names that mean another class.
        unknown_classes: ignore, add or stop.
        rules: What a broken rule does (fix, reject or keep), where not the default.
        min_box_size: Reject boxes whose shorter side is below this, in pixels.
        max_rejected_share: Fail when more than this share had to be rejected.
        split: auto, source or random.
        train_share: Share of the images to train on.
        val_share: Share of the images to validate on.
        test_share: Share of the images held out.
        val_images: Size of val in images instead of the share; 0: by share.
        test_images: Size of test in images instead of the share; 0: by share.
        group_by: Keep images together in one split: folder, tag:<name> or name:<pattern>.
        near_duplicates: Keep images together that differ in at most so many hash bits; -1: off.
        max_class_share: Largest share of the training boxes a class may have.
        oversample_below: Show images of classes on less than this share of the images more often.
        tile: Edge of the tiles that larger images are cut into; 0: no tiles.
        tile_overlap: Share of its edge a tile has in common with the next.
        tile_min_visible: Least share of a box inside a tile for the tile to show it.
        seed: Seed of the split.
    """
    from pathlib import Path

    from components.data_prep.prepare import PrepareOptions, run
    from components.shared.run_record import leave_note
    from components.shared.step import run_step

    options = PrepareOptions(
        seed=seed,
        train_share=train_share,
        val_share=val_share,
        test_share=test_share,
        subset=subset,
        target_classes=tuple(target_classes),
        drop_classes=tuple(drop_classes),
        class_aliases=class_aliases,
        unknown_classes=unknown_classes,
        rules=rules,
        min_box_size=min_box_size,
        max_rejected_share=max_rejected_share,
        split=split,
        val_images=val_images,
        test_images=test_images,
        group_by=group_by,
        near_duplicates=near_duplicates,
        max_class_share=max_class_share,
        oversample_below=oversample_below,
        tile=tile,
        tile_overlap=tile_overlap,
        tile_min_visible=tile_min_visible,
    )
    outputs = {"train": train, "val": val, "test": test}
    paths = {name: Path(artifact.path) for name, artifact in outputs.items()}
    reports = Path(report.path), Path(overview.path)
    prepared = run_step("data_prep", store, run, Path(dataset.path), store, paths, reports, options)
    for name, artifact in outputs.items():
        part = getattr(prepared, name)
        artifact.metadata.update(digest=part.version, name=part.name, split=name)
    summary.metadata.update(prepared.counts)
    versions = {
        name: f"{artifact.metadata['name']}@{artifact.metadata['digest']}" for name, artifact in outputs.items()
    }
    leave_note(store, "data_prep", {"versions": versions})
