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
    label_attribute: str = "",
    name_conflicts: str = "stop",
    sql_query: str = "",
    allow_private_addresses: bool = False,  # noqa: FBT001, FBT002 - a parameter as KFP reads it
    max_download_gb: float = 100.0,
    name: str = "",
    sample_images: int = 240,
    sample_edge: int = 320,
    seed: int = 0,
) -> None:
    """Bring annotated images into the store as a dataset version.

    Args:
        source: A folder, an archive, s3://, https://, a database, labelstudio:// or sample://; several as a JSON list.
        store: file:///folder or s3://bucket/prefix; receives the images.
        dataset: The dataset as found: manifest, tables and ledger; the images stay in the store.
        summary: Counts of images, boxes and bytes.
        report: What was found, for a person.
        format: auto, coco, yolo, voc, ymir, groundtruth, labelstudio, cvat, openimages, kitti, labelme or datumaro.
        label_attribute: Label attribute of a Ground Truth manifest; empty: the newest.
        name_conflicts: stop, first or last, when merged sources have different images of one name.
        sql_query: Query of a database source.
        allow_private_addresses: Let https sources lie on private addresses.
        max_download_gb: Stop a download that is larger, in GB.
        name: Name of the dataset in the store; empty: after the source.
        sample_images: Number of images of the built-in sample.
        sample_edge: Image edge of the built-in sample, in pixels.
        seed: Seed of the built-in sample.
    """
    from pathlib import Path

    from components.data_load.load import load
    from components.data_load.options import LoadOptions, SampleOptions
    from components.shared.run_record import leave_note
    from components.shared.step import run_step

    sample = SampleOptions(images=sample_images, edge=sample_edge, seed=seed)
    options = LoadOptions(
        source=source,
        format=format,
        name=name,
        sample=sample,
        label_attribute=label_attribute,
        name_conflicts=name_conflicts,
        sql_query=sql_query,
        allow_private_addresses=allow_private_addresses,
        max_download_gb=max_download_gb,
    )
    loaded = run_step("data_load", store, load, options, store, Path(dataset.path), Path(report.path))
    dataset.metadata.update(digest=loaded.version, name=loaded.dataset.name)
    summary.metadata.update(loaded.counts)
    leave_note(store, "data_load", {"versions": {"dataset": f"{loaded.dataset.name}@{loaded.version}"}})
