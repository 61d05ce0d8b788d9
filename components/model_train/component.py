"""The KFP shell of model_train."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Output, component

from components.artifacts import TrainedModel


@component(base_image="trainer-python", packages_to_install=[], install_kfp_package=False)
def model_train(
    train: Input[Dataset],
    val: Input[Dataset],
    store: str,
    model: Output[TrainedModel],
    start: Output[TrainedModel],
    metrics: Output[Metrics],
    report: Output[HTML],
    preset: str = "quick",
    weights: str = "",
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
    device: str = "auto",
    gpus: str = "1",
    patience: int = -1,
    max_hours: float = 0.0,
    attempt_hours: float = 0.0,
    resume: str = "auto",
    checkpoint_minutes: float = 5.0,
    checkpoint_epochs: int = 1,
    overfitting: str = "warn",
    overfit_patience: int = 10,
    longest_edge: int = 0,
    image_format: str = "keep",
    seed: int = 0,
    overrides: dict[str, str] = {},  # noqa: B006 - same
) -> None:
    """Train a detector from scratch or from weights, and go on where an earlier attempt was interrupted.

    Args:
        train: Images to train on.
        val: Images to validate on after each epoch.
        store: Where the images and checkpoints lie.
        model: Best and last weights, a test image and the manifest.
        start: The weights it started from, for a comparison on images of the test split.
        metrics: The best epoch's validation metrics.
        report: Curves, warnings and pictures, for a person.
        preset: Ready-made settings for what is left to the preset: quick, balanced or best.
        weights: A model YAML, weights, or the name of a torchvision model; the pipeline's parameter is `model`.
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
        device: auto, cpu, or the number of a GPU.
        gpus: GPUs of the node to train on at once, a number as text; 0: train on CPUs.
        patience: Stop after this many epochs without a better mAP; 0: never; -1: by preset.
        max_hours: Stop with the best weights so far after this many hours; 0: no limit.
        attempt_hours: Save and end one attempt after this many hours; 0: no limit.
        resume: auto: go on from this training's checkpoint; never: begin anew, only a retry of this run goes on.
        checkpoint_minutes: Least minutes between two checkpoints.
        checkpoint_epochs: Epochs between two checkpoints.
        overfitting: off, warn or stop.
        overfit_patience: Epochs the validation loss may stay above its minimum.
        longest_edge: Scale images down to this longest edge, in pixels, before training; 0: as they are.
        image_format: keep, jpeg or png.
        seed: Seed of the training.
        overrides: Parameters that differ in this training of a sweep; they win over the others.
    """
    from pathlib import Path

    from components.model_train.model_folder import Outputs
    from components.model_train.setting import train_setting
    from components.model_train.settings import read_settings
    from components.model_train.train import Place, train_model
    from components.shared.step import run_name, run_step
    from components.shared.sweep import step_name

    settings = {
        "preset": preset,
        "model": weights,
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
        "device": device,
        "gpus": int(gpus),  # text, because Kubeflow's driver takes the count of a resource from text alone
        "patience": patience,
        "max_hours": max_hours,
        "attempt_hours": attempt_hours,
        "resume": resume,
        "checkpoint_minutes": checkpoint_minutes,
        "checkpoint_epochs": checkpoint_epochs,
        "overfitting": overfitting,
        "overfit_patience": overfit_patience,
        "longest_edge": longest_edge,
        "image_format": image_format,
        "seed": seed,
    }
    place = Place(run_id=run_name(), step=step_name("model_train", overrides))
    outputs = Outputs(Path(model.path), Path(report.path), Path(start.path))
    told = run_step(
        place.step,
        store,
        lambda **named: train_setting(
            overrides,
            outputs,
            lambda: train_model(
                (Path(train.path), Path(val.path)),
                store,
                read_settings(settings, overrides),
                outputs,
                place=place,
                **named,
            ),
        ),
    )
    model.metadata.update(told.facts)
    start.metadata.update(told.start_facts)
    metrics.metadata.update(told.metrics)
