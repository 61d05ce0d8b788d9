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
    proof_images: int = 8,
    load_seconds: float = 3.0,
    max_latency_ms: float = 0.0,
) -> None:
    """Prove that the packed model is the trained one: by hash, by tensor, by prediction and over HTTP.

    Args:
        model: The trained model.
        archive: The packed model.
        val: Validation images to compare predictions on.
        store: Where the images lie.
        proof: How much was compared and the largest difference; its file is the whole proof as JSON.
        report: Each check and its result, for a person.
        proof_images: Validation images to compare on, besides the test image and an empty, a noisy and a large one.
        load_seconds: How long the service is asked by several clients at once; 0: not at all.
        max_latency_ms: The 95th percentile of its answers under that load may take; 0: any.
    """
    from pathlib import Path

    from components.model_test.options import ProofOptions
    from components.model_test.prove import run
    from components.shared.step import run_step

    options = ProofOptions(
        images=int(proof_images),
        load_seconds=load_seconds,
        max_latency_ms=max_latency_ms,
        recorded=str(archive.metadata.get("digest", "")),
    )
    evidence = run_step(
        "model_test",
        store,
        run,
        Path(model.path),
        Path(archive.path),
        Path(val.path),
        store,
        options,
        Path(report.path),
    )
    proof.metadata.update(evidence.numbers)
    proof.metadata["digest"] = evidence.digest
    Path(proof.path).write_text(evidence.document, encoding="utf-8")
