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
    name: str = DEFAULT.name,
    store: str = DEFAULT.store,
    sample_images: int = DEFAULT.sample_images,
    sample_edge: int = DEFAULT.sample_edge,
    seed: int = DEFAULT.seed,
    target_classes: list[str] = DEFAULT.target_classes,
    class_aliases: dict[str, str] = DEFAULT.class_aliases,
    min_box_size: float = DEFAULT.min_box_size,
    max_rejected_share: float = DEFAULT.max_rejected_share,
    split: str = DEFAULT.split,
    train_share: float = DEFAULT.train_share,
    val_share: float = DEFAULT.val_share,
    test_share: float = DEFAULT.test_share,
    model: str = DEFAULT.model,
    epochs: int = DEFAULT.epochs,
    batch: int = DEFAULT.batch,
    imgsz: int = DEFAULT.imgsz,
    lr0: float = DEFAULT.lr0,
    optimizer: str = DEFAULT.optimizer,
    warmup_epochs: float = DEFAULT.warmup_epochs,
    close_mosaic: int = DEFAULT.close_mosaic,
    patience: int = DEFAULT.patience,
    freeze: int = DEFAULT.freeze,
    device: str = DEFAULT.device,
    min_map50: float = DEFAULT.min_map50,
) -> None:
    """Turn annotated images into a detector that is measured, proved and registered."""
    loaded = data_load(
        source=source,
        store=store,
        format=format,
        name=name,
        sample_images=sample_images,
        sample_edge=sample_edge,
        seed=seed,
    )
    prepared = data_prep(
        dataset=loaded.outputs["dataset"],
        store=store,
        target_classes=target_classes,
        class_aliases=class_aliases,
        min_box_size=min_box_size,
        max_rejected_share=max_rejected_share,
        split=split,
        train_share=train_share,
        val_share=val_share,
        test_share=test_share,
        seed=seed,
    )
    trained = model_train(
        train=prepared.outputs["train"],
        val=prepared.outputs["val"],
        store=store,
        weights=model,
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
    )
    packed = model_pack(model=trained.outputs["model"], store=store)
    evaluated = model_eval(
        test=prepared.outputs["test"],
        archive=packed.outputs["archive"],
        store=store,
        min_map50=min_map50,
        device=device,
    )
    proved = model_test(
        model=trained.outputs["model"],
        archive=packed.outputs["archive"],
        val=prepared.outputs["val"],
        store=store,
    )
    published = model_publish(
        archive=packed.outputs["archive"],
        predictions=evaluated.outputs["predictions"],
        proof=proved.outputs["proof"],
        passed=evaluated.outputs["passed"],
        store=store,
    )
    published.set_caching_options(
        enable_caching=False
    )  # it moves an alias: that must happen, however often it is asked
