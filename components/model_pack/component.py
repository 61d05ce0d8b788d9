"""The KFP shell of model_pack."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Output, component

from components.artifacts import BentoArchive, TrainedModel


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def model_pack(
    model: Input[TrainedModel],
    val: Input[Dataset],
    store: str,
    archive: Output[BentoArchive],
    metrics: Output[Metrics],
    report: Output[HTML],
    runtimes: list[str] = ["onnx"],  # noqa: B006 - KFP reads the default from here
    serve_runtime: str = "auto",
    max_drop: float = 0.01,
    runtime_images: int = 64,
    predict_tile: int = -1,
    tile: int = 0,
    tile_overlap: float = 0.2,
    tile_merge: str = "nms",
    device: str = "auto",
) -> None:
    """Pack the inference files as they are, with faster runtimes, a service and a manifest, into a bento.

    Args:
        model: The trained model.
        val: Validation images, to calibrate and measure the runtimes on and to choose the thresholds of serving.
        store: Where the images lie and progress is told.
        archive: model.bento and the manifest of what is in it.
        metrics: Accuracy and latency of each runtime.
        report: The runtimes side by side, for a person.
        runtimes: What to convert the model to: onnx, onnx-int8, openvino, openvino-bf16, torchscript, tensorrt.
        serve_runtime: The runtime that serves on a CPU; auto is the fastest that keeps the accuracy.
        max_drop: mAP50-95 a runtime may lose.
        runtime_images: How many validation images the runtimes are measured on; 0 is all.
        predict_tile: Cut larger images into tiles of this edge when predicting; 0: never; -1: as for training.
        tile: Edge of the tiles the model was trained on.
        tile_overlap: Share of its edge a tile has in common with the next.
        tile_merge: How boxes of neighbouring tiles become one: nms or wbf.
        device: auto, cpu, or the number of a GPU.
    """
    from pathlib import Path

    from components.model_pack.options import PackOptions
    from components.model_pack.pack import run
    from components.shared.run_record import leave_note
    from components.shared.step import run_step

    options = PackOptions(
        runtimes=tuple(runtimes),
        serve_runtime=serve_runtime,
        max_drop=max_drop,
        images=int(runtime_images),
        tile=int(tile if predict_tile < 0 else predict_tile),
        tile_overlap=tile_overlap,
        tile_merge=tile_merge,
        device=device,
    )
    packed = run_step(
        "model_pack",
        store,
        run,
        Path(model.path),
        Path(val.path),
        store,
        Path(archive.path),
        Path(report.path),
        options,
    )
    archive.metadata.update(digest=packed.manifest.content_digest, tag=packed.manifest.tag)
    metrics.metadata.update(packed.metrics)
    leave_note(store, "model_pack", {"versions": {"archive": packed.manifest.tag}})
