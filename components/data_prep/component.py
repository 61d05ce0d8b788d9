"""The KFP shell of data_prep."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Output, component


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def data_prep(
    dataset: Input[Dataset],
    store: str,
    train: Output[Dataset],
    val: Output[Dataset],
    test: Output[Dataset],
    summary: Output[Metrics],
    report: Output[HTML],
    target_classes: list[str] = [],  # noqa: B006 - kfp reads the default, nobody changes it
    class_aliases: dict[str, str] = {},  # noqa: B006 - same
    min_box_size: float = 2.0,
    max_rejected_share: float = 0.2,
    split: str = "auto",
    train_share: float = 0.7,
    val_share: float = 0.15,
    test_share: float = 0.15,
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
        target_classes: Classes to keep; empty: all.
        class_aliases: Names that mean another class.
        min_box_size: Reject boxes whose shorter side is below this, in pixels.
        max_rejected_share: Fail when more than this share had to be rejected.
        split: auto, source or random.
        train_share: Share of the images to train on.
        val_share: Share of the images to validate on.
        test_share: Share of the images held out.
        seed: Seed of the split.
    """
    from pathlib import Path

    from components.data_prep.prepare import PrepareOptions, run
    from components.shared.step import run_step

    options = PrepareOptions(
        seed=seed,
        train_share=train_share,
        val_share=val_share,
        test_share=test_share,
        target_classes=tuple(target_classes),
        class_aliases=class_aliases,
        min_box_size=min_box_size,
        max_rejected_share=max_rejected_share,
        split=split,
    )
    outputs = {"train": train, "val": val, "test": test}
    paths = {name: Path(artifact.path) for name, artifact in outputs.items()}
    prepared = run_step("data_prep", store, run, Path(dataset.path), store, paths, Path(report.path), options)
    for name, artifact in outputs.items():
        part = getattr(prepared, name)
        artifact.metadata.update(digest=part.version, name=part.name, split=name)
    summary.metadata.update(prepared.counts)
