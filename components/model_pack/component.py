"""The KFP shell of model_pack."""

from kfp.dsl import Input, Output, component

from components.artifacts import BentoArchive, TrainedModel


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def model_pack(model: Input[TrainedModel], store: str, archive: Output[BentoArchive]) -> None:
    """Pack the inference files as they are, with a service and a manifest, into a bento.

    Args:
        model: The trained model.
        store: Where progress is told.
        archive: model.bento and the manifest of what is in it.
    """
    from pathlib import Path

    from components.model_pack.pack import run
    from components.shared.step import run_step

    manifest = run_step("model_pack", store, run, Path(model.path), Path(archive.path))
    archive.metadata.update(digest=manifest.content_digest, tag=manifest.tag)
