"""The KFP shell of data_load."""

from kfp.dsl import HTML, Dataset, Metrics, Output, component


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def data_load(
    source: str,
    store: str,
    dataset: Output[Dataset],
    summary: Output[Metrics],
    report: Output[HTML],
    format: str = "auto",  # noqa: A002 - the parameter's name
    name: str = "",
    sample_images: int = 240,
    sample_edge: int = 320,
    seed: int = 0,
) -> None:
    """Bring annotated images into the store as a dataset version.

    Args:
        source: A folder, a .zip or .tar(.gz), or sample://workbench.
        store: file:///folder or s3://bucket/prefix; receives the images.
        dataset: The dataset as found: manifest, tables and ledger; the images stay in the store.
        summary: Counts of images, boxes and bytes.
        report: What was found, for a person.
        format: auto, coco, yolo or voc.
        name: Name of the dataset in the store; empty: after the source.
        sample_images: Number of images of the built-in sample.
        sample_edge: Image edge of the built-in sample, in pixels.
        seed: Seed of the built-in sample.
    """
    from pathlib import Path

    from components.data_load.load import LoadOptions, load
    from components.data_load.source import SampleOptions
    from components.shared.step import run_step

    sample = SampleOptions(images=sample_images, edge=sample_edge, seed=seed)
    options = LoadOptions(source=source, format=format, name=name, sample=sample)
    loaded = run_step("data_load", store, load, options, store, Path(dataset.path), Path(report.path))
    dataset.metadata.update(digest=loaded.version, name=loaded.dataset.name)
    summary.metadata.update(loaded.counts)
