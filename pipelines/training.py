"""The training DAG: from annotated images to a tested, packed and registered detector."""

from kfp import dsl

from components.data_load.component import data_load
from components.data_prep.component import data_prep
from components.model_eval.component import model_eval
from components.model_pack.component import model_pack
from components.model_publish.component import model_publish
from components.model_test.component import model_test
from components.model_train.component import model_train
from pipelines.config import TrainingConfig, documented

NAME = "detector-training"
STEPS = ("data_load", "data_prep", "model_train", "model_pack", "model_eval", "model_test", "model_publish")
DEFAULT = TrainingConfig()


@dsl.pipeline(name=NAME, display_name="Train a detector")
@documented
def training(  # noqa: PLR0913, PLR0917 - one argument a parameter, as KFP reads them
    source: str = DEFAULT.source,
    format: str = DEFAULT.format,  # noqa: A002 - the parameter's name
    label_attribute: str = DEFAULT.label_attribute,
    name_conflicts: str = DEFAULT.name_conflicts,
    sql_query: str = DEFAULT.sql_query,
    allow_private_addresses: bool = DEFAULT.allow_private_addresses,  # noqa: FBT001 - a parameter as KFP reads it
    max_download_gb: float = DEFAULT.max_download_gb,
    name: str = DEFAULT.name,
    store: str = DEFAULT.store,
    sample_images: int = DEFAULT.sample_images,
    sample_edge: int = DEFAULT.sample_edge,
    seed: int = DEFAULT.seed,
    subset: str = DEFAULT.subset,
    target_classes: list[str] = DEFAULT.target_classes,
    drop_classes: list[str] = DEFAULT.drop_classes,
    class_aliases: dict[str, str] = DEFAULT.class_aliases,
    unknown_classes: str = DEFAULT.unknown_classes,
    rules: dict[str, str] = DEFAULT.rules,
    min_box_size: float = DEFAULT.min_box_size,
    max_rejected_share: float = DEFAULT.max_rejected_share,
    split: str = DEFAULT.split,
    train_share: float = DEFAULT.train_share,
    val_share: float = DEFAULT.val_share,
    test_share: float = DEFAULT.test_share,
    val_images: int = DEFAULT.val_images,
    test_images: int = DEFAULT.test_images,
    group_by: str = DEFAULT.group_by,
    near_duplicates: int = DEFAULT.near_duplicates,
    max_class_share: float = DEFAULT.max_class_share,
    oversample_below: float = DEFAULT.oversample_below,
    tile: int = DEFAULT.tile,
    tile_overlap: float = DEFAULT.tile_overlap,
    tile_min_visible: float = DEFAULT.tile_min_visible,
    longest_edge: int = DEFAULT.longest_edge,
    image_format: str = DEFAULT.image_format,
    preset: str = DEFAULT.preset,
    model: str = DEFAULT.model,
    start_from: str = DEFAULT.start_from,
    epochs: int = DEFAULT.epochs,
    batch: int = DEFAULT.batch,
    imgsz: int = DEFAULT.imgsz,
    lr0: float = DEFAULT.lr0,
    optimizer: str = DEFAULT.optimizer,
    warmup_epochs: float = DEFAULT.warmup_epochs,
    close_mosaic: int = DEFAULT.close_mosaic,
    freeze: int = DEFAULT.freeze,
    hyperparameters: dict[str, str] = {},  # noqa: B006 - KFP reads the default from here
    device: str = DEFAULT.device,
    gpus: int = DEFAULT.gpus,
    patience: int = DEFAULT.patience,
    max_hours: float = DEFAULT.max_hours,
    attempt_hours: float = DEFAULT.attempt_hours,
    resume: str = DEFAULT.resume,
    checkpoint_minutes: float = DEFAULT.checkpoint_minutes,
    checkpoint_epochs: int = DEFAULT.checkpoint_epochs,
    overfitting: str = DEFAULT.overfitting,
    overfit_patience: int = DEFAULT.overfit_patience,
    runtimes: list[str] = DEFAULT.runtimes,
    serve_runtime: str = DEFAULT.serve_runtime,
    max_drop: float = DEFAULT.max_drop,
    runtime_images: int = DEFAULT.runtime_images,
    predict_tile: int = DEFAULT.predict_tile,
    tile_merge: str = DEFAULT.tile_merge,
    min_map50: float = DEFAULT.min_map50,
    min_map50_95: float = DEFAULT.min_map50_95,
    class_gates: dict[str, float] = DEFAULT.class_gates,
    slice_gates: dict[str, float] = DEFAULT.slice_gates,
    champion_margin: float = DEFAULT.champion_margin,
    proof_images: int = DEFAULT.proof_images,
    load_seconds: float = DEFAULT.load_seconds,
    max_latency_ms: float = DEFAULT.max_latency_ms,
    model_registry: str = DEFAULT.model_registry,
) -> None:
    """Turn annotated images into a detector that is measured, proved and registered."""
    loaded = data_load(
        source=source,
        store=store,
        format=format,
        label_attribute=label_attribute,
        name_conflicts=name_conflicts,
        sql_query=sql_query,
        allow_private_addresses=allow_private_addresses,
        max_download_gb=max_download_gb,
        name=name,
        sample_images=sample_images,
        sample_edge=sample_edge,
        seed=seed,
    )
    prepared = data_prep(
        dataset=loaded.outputs["dataset"],
        store=store,
        subset=subset,
        target_classes=target_classes,
        drop_classes=drop_classes,
        class_aliases=class_aliases,
        unknown_classes=unknown_classes,
        rules=rules,
        min_box_size=min_box_size,
        max_rejected_share=max_rejected_share,
        split=split,
        train_share=train_share,
        val_share=val_share,
        test_share=test_share,
        val_images=val_images,
        test_images=test_images,
        group_by=group_by,
        near_duplicates=near_duplicates,
        max_class_share=max_class_share,
        oversample_below=oversample_below,
        tile=tile,
        tile_overlap=tile_overlap,
        tile_min_visible=tile_min_visible,
        seed=seed,
    )
    trained = model_train(
        train=prepared.outputs["train"],
        val=prepared.outputs["val"],
        store=store,
        preset=preset,
        weights=model,
        start_from=start_from,
        epochs=epochs,
        batch=batch,
        imgsz=imgsz,
        lr0=lr0,
        optimizer=optimizer,
        warmup_epochs=warmup_epochs,
        close_mosaic=close_mosaic,
        freeze=freeze,
        hyperparameters=hyperparameters,
        device=device,
        gpus=gpus,
        patience=patience,
        max_hours=max_hours,
        attempt_hours=attempt_hours,
        resume=resume,
        checkpoint_minutes=checkpoint_minutes,
        checkpoint_epochs=checkpoint_epochs,
        overfitting=overfitting,
        overfit_patience=overfit_patience,
        longest_edge=longest_edge,
        image_format=image_format,
        seed=seed,
    )
    packed = model_pack(
        model=trained.outputs["model"],
        val=prepared.outputs["val"],
        store=store,
        runtimes=runtimes,
        serve_runtime=serve_runtime,
        max_drop=max_drop,
        runtime_images=runtime_images,
        predict_tile=predict_tile,
        tile=tile,
        tile_overlap=tile_overlap,
        tile_merge=tile_merge,
        device=device,
    )
    evaluated = model_eval(
        test=prepared.outputs["test"],
        archive=packed.outputs["archive"],
        start=trained.outputs["start"],
        store=store,
        min_map50=min_map50,
        min_map50_95=min_map50_95,
        class_gates=class_gates,
        slice_gates=slice_gates,
        champion_margin=champion_margin,
        seed=seed,
        device=device,
    )
    proved = model_test(
        model=trained.outputs["model"],
        archive=packed.outputs["archive"],
        val=prepared.outputs["val"],
        store=store,
        proof_images=proof_images,
        load_seconds=load_seconds,
        max_latency_ms=max_latency_ms,
    )
    published = model_publish(
        archive=packed.outputs["archive"],
        predictions=evaluated.outputs["predictions"],
        proof=proved.outputs["proof"],
        passed=evaluated.outputs["passed"],
        store=store,
        model_registry=model_registry,
    )
    published.set_caching_options(
        enable_caching=False
    )  # it moves an alias: that must happen, however often it is asked
