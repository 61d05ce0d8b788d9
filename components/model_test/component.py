"""The KFP shell of model_test."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Output, component

from components.artifacts import BentoArchive, TrainedModel


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def model_test(
    model: Input[TrainedModel],
    archive: Input[BentoArchive],
    val: Input[Dataset],
    store: str,
    proof: Output[Metrics],
    report: Output[HTML],
    images: int = 4,
) -> None:
    """Prove that the packed model is the trained one: by hash, by tensor, by prediction and over HTTP.

    Args:
        model: The trained model.
        archive: The packed model.
        val: Validation images to compare predictions on.
        store: Where the images lie.
        proof: How much was compared and the largest difference.
        report: Each check and its result, for a person.
        images: Number of validation images to compare on, besides the test image and an empty one.
    """
    from pathlib import Path

    from components.model_test.prove import run
    from components.shared.step import run_step

    evidence = run_step(
        "model_test", store, run, Path(model.path), Path(archive.path), Path(val.path), store, images, Path(report.path)
    )
    proof.metadata.update(evidence.numbers)
