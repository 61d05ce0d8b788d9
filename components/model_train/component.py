"""The KFP shell of model_train."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Output, component

from components.artifacts import TrainedModel


@component(base_image="trainer-python", packages_to_install=[], install_kfp_package=False)
def model_train(
    train: Input[Dataset],
    val: Input[Dataset],
    store: str,
    model: Output[TrainedModel],
    metrics: Output[Metrics],
    report: Output[HTML],
    weights: str = "yolo11n.yaml",
    epochs: int = 25,
    batch: int = 16,
    imgsz: int = 128,
    lr0: float = 0.002,
    optimizer: str = "AdamW",
    warmup_epochs: float = 1.0,
    close_mosaic: int = 5,
    patience: int = 100,
    freeze: int = 0,
    device: str = "auto",
    longest_edge: int = 0,
    image_format: str = "keep",
    seed: int = 0,
) -> None:
    """Train a detector from scratch or from weights.

    Args:
        train: Images to train on.
        val: Images to validate on after each epoch.
        store: Where the images lie.
        model: Best and last weights, a test image and the manifest.
        metrics: The best epoch's validation metrics.
        report: Loss and metric curves, for a person.
        weights: A model YAML (from scratch) or weights (transfer learning); the pipeline's parameter is `model`.
        epochs: Passes over the training images.
        batch: Images an optimiser step.
        imgsz: Longest edge the images are scaled to, in pixels.
        lr0: Initial learning rate.
        optimizer: Optimiser.
        warmup_epochs: Epochs over which the learning rate rises.
        close_mosaic: Switch mosaic augmentation off for the last epochs.
        patience: Stop after this many epochs without a better mAP; 0: never.
        freeze: Freeze this many of the first layers.
        device: auto, cpu, or the number of a GPU.
        longest_edge: Scale images down to this longest edge, in pixels, before training; 0: as they are.
        image_format: keep, jpeg or png.
        seed: Seed of the training.
    """
    from pathlib import Path

    from components.model_train.train import train_model
    from components.model_train.trainers.base import Hyperparameters
    from components.shared.step import run_step

    parameters = Hyperparameters(
        model=weights,
        epochs=epochs,
        batch=batch,
        imgsz=imgsz,
        lr0=lr0,
        optimizer=optimizer,
        warmup_epochs=warmup_epochs,
        close_mosaic=close_mosaic,
        patience=patience,
        freeze=freeze,
        device=device,
        seed=seed,
        longest_edge=longest_edge,
        image_format=image_format,
    )
    trained = run_step(
        "model_train",
        store,
        train_model,
        Path(train.path),
        Path(val.path),
        store,
        parameters,
        Path(model.path),
        Path(report.path),
    )
    model.metadata.update(digest=trained.manifest.digest, framework=trained.manifest.framework)
    metrics.metadata.update(trained.manifest.metrics)
