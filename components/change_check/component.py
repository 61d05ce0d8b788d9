"""The KFP shell of change_check."""

from typing import NamedTuple

from kfp.dsl import Dataset, Input, component


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def change_check(
    train: Input[Dataset],
    val: Input[Dataset],
    test: Input[Dataset],
    store: str,
    only_if_changed: bool = False,  # noqa: FBT001, FBT002 - a parameter as KFP reads it
    model: str = "",
    preset: str = "quick",
    start_from: str = "",
    epochs: int = 0,
    batch: int = 0,
    imgsz: int = 0,
    lr0: float = 0.0,
    optimizer: str = "preset",
    warmup_epochs: float = -1.0,
    close_mosaic: int = -1,
    freeze: int = 0,
    hyperparameters: dict[str, str] = {},  # noqa: B006 - KFP reads the default from here
    patience: int = -1,
    overfitting: str = "warn",
    overfit_patience: int = 10,
    longest_edge: int = 0,
    image_format: str = "keep",
    seed: int = 0,
    runtimes: list[str] = ["onnx"],  # noqa: B006 - same
    serve_runtime: str = "auto",
    max_drop: float = 0.01,
    runtime_images: int = 64,
    predict_tile: int = -1,
    tile: int = 0,
    tile_overlap: float = 0.2,
    tile_merge: str = "nms",
    min_map50: float = 0.5,
    min_map50_95: float = 0.0,
    class_gates: dict[str, float] = {},  # noqa: B006 - same
    slice_gates: dict[str, float] = {},  # noqa: B006 - same
    champion_margin: float = 0.05,
    proof_images: int = 8,
    load_seconds: float = 3.0,
    max_latency_ms: float = 0.0,
) -> NamedTuple("Outputs", [("changed", bool), ("basis", str), ("reason", str)]):  # type: ignore[valid-type] # kfp reads it so
    """Say whether the run makes a model from anything else than the champion came from.

    Args:
        train: Images to train on.
        val: Images to validate on.
        test: Images held out.
        store: Where the registry is.
        only_if_changed: Whether a run that changes nothing ends here.
        model: A model YAML, weights, or the name of a torchvision model.
        preset: Ready-made settings for what is left to the preset: quick, balanced or best.
        start_from: Weights to start from: champion, a published version, official weights, a file or s3:// object.
        epochs: Passes over the training images; 0: by preset.
        batch: Images an optimiser step; 0: by preset; -1: as many as fit the GPU.
        imgsz: Longest edge the images are scaled to, in pixels; 0: by preset.
        lr0: Initial learning rate; 0: by preset.
        optimizer: Optimiser; preset: by preset.
        warmup_epochs: Epochs over which the learning rate rises; -1: by preset.
        close_mosaic: Switch mosaic augmentation off for the last epochs; -1: by preset.
        freeze: Freeze this many of the first layers.
        hyperparameters: The library's other hyperparameters, by its names.
        patience: Stop after this many epochs without a better mAP; 0: never; -1: by preset.
        overfitting: off, warn or stop.
        overfit_patience: Epochs the validation loss may stay above its minimum.
        longest_edge: Scale images down to this longest edge, in pixels, before training; 0: as they are.
        image_format: keep, jpeg or png.
        seed: Seed of the training.
        runtimes: What to convert the model to: onnx, onnx-int8, openvino, openvino-bf16, torchscript, tensorrt.
        serve_runtime: The runtime that serves on a CPU; auto is the fastest that keeps the accuracy.
        max_drop: mAP50-95 a runtime may lose.
        runtime_images: How many validation images the runtimes are measured on; 0 is all.
        predict_tile: Cut larger images into tiles of this edge when predicting; 0: never; -1: as for training.
        tile: Edge of the tiles the model was trained on.
        tile_overlap: Share of its edge a tile has in common with the next.
        tile_merge: How boxes of neighbouring tiles become one: nms or wbf.
        min_map50: The gate: mAP50 the model needs.
        min_map50_95: The gate: mAP50-95 the model needs; 0: none.
        class_gates: The gate: AP50 a class needs.
        slice_gates: The gate: recall a slice such as size:small needs.
        champion_margin: The gate: mAP50-95 the model may be worse than the champion; -1: not compared.
        proof_images: Validation images to compare on, besides the test image and an empty, a noisy and a large one.
        load_seconds: How long the service is asked by several clients at once; 0: not at all.
        max_latency_ms: The 95th percentile of its answers under that load may take; 0: any.

    Returns:
        changed: Whether there is anything to do.
        basis: Digest of the data, parameters and code, kept with the model.
        reason: Why there is nothing to do.
    """
    from components.change_check.check import check_change
    from components.shared.run_record import leave_note
    from components.shared.step import run_step

    parameters: dict[str, object] = {
        "model": model,
        "preset": preset,
        "start_from": start_from,
        "epochs": epochs,
        "batch": batch,
        "imgsz": imgsz,
        "lr0": lr0,
        "optimizer": optimizer,
        "warmup_epochs": warmup_epochs,
        "close_mosaic": close_mosaic,
        "freeze": freeze,
        "hyperparameters": hyperparameters,
        "patience": patience,
        "overfitting": overfitting,
        "overfit_patience": overfit_patience,
        "longest_edge": longest_edge,
        "image_format": image_format,
        "seed": seed,
        "runtimes": runtimes,
        "serve_runtime": serve_runtime,
        "max_drop": max_drop,
        "runtime_images": runtime_images,
        "predict_tile": predict_tile,
        "tile": tile,
        "tile_overlap": tile_overlap,
        "tile_merge": tile_merge,
        "min_map50": min_map50,
        "min_map50_95": min_map50_95,
        "class_gates": class_gates,
        "slice_gates": slice_gates,
        "champion_margin": champion_margin,
        "proof_images": proof_images,
        "load_seconds": load_seconds,
        "max_latency_ms": max_latency_ms,
    }
    splits = {"train": train, "val": val, "test": test}
    data = {name: str(split.metadata.get("digest", "")) for name, split in splits.items()}
    checked = run_step(
        "change_check",
        store,
        check_change,
        data,
        parameters,
        store,
        str(train.metadata.get("name", "")),
        only_if_changed=only_if_changed,
    )
    versions = {name: f"{split.metadata.get('name', '')}@{data[name]}" for name, split in splits.items()}
    told = {"changed": checked.changed, "reason": checked.reason, "basis": checked.basis}
    leave_note(store, "change_check", {**told, "versions": versions, "parameters": parameters})
    return (checked.changed, checked.basis, checked.reason)
