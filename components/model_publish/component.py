"""The KFP shell of model_publish."""

from typing import NamedTuple

from kfp.dsl import Input, Metrics, component

from components.artifacts import BentoArchive, Predictions


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def model_publish(
    archive: Input[BentoArchive],
    predictions: Input[Predictions],
    proof: Input[Metrics],
    passed: bool,  # noqa: FBT001 - kfp passes it by name
    store: str,
    basis: str = "",
    model_registry: str = "",
) -> NamedTuple("Outputs", [("version", str), ("champion", bool), ("model", str)]):  # type: ignore[valid-type] # kfp reads it so
    """Register the archive in the store and, when the gate passed, make it the champion.

    Args:
        archive: The packed model.
        predictions: What the evaluation found; kept beside the archive.
        proof: The proof that the archive is what was trained; nothing is published without it.
        passed: Whether the quality gate passed.
        store: Where the registry is.
        basis: Digest of the data, parameters and code the model came from; kept with it.
        model_registry: Address of a Kubeflow Model Registry that is told as well; empty: none.

    Returns:
        version: The model's version in the registry.
        champion: Whether it is the champion now.
        model: Its name.
    """
    from dataclasses import asdict
    from pathlib import Path

    from components.model_publish.publish import publish
    from components.shared.run_record import leave_note
    from components.shared.step import run_step

    published = run_step(
        "model_publish",
        store,
        publish,
        Path(archive.path),
        Path(predictions.path),
        store,
        passed=passed,
        proof=dict(proof.metadata),
        basis=basis,
        model_registry=model_registry,
    )
    leave_note(store, "model_publish", asdict(published))
    return (published.version, published.champion, published.name)
