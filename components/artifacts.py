"""The typed artifacts that travel between steps.

What is authoritative lives in files inside an artifact; ``metadata`` carries flat strings and finite floats for the
UI, because the cluster's metadata store mangles anything else. ``metadata["digest"]`` names the content, so that
equal content is recognised wherever it lies.
"""

from kfp.dsl import Artifact
from kfp.dsl.types import artifact_types


class TrainedModel(Artifact):
    """A model folder: weights as the trainer wrote them, a test image and ``manifest.json``."""

    schema_title = "system.TrainedModel"
    schema_version = "0.0.1"


TrainedModels = list[TrainedModel]  # KFP finds the import of a list's own class only behind a name of this module


class BentoArchive(Artifact):
    """A folder with ``model.bento`` and the ``manifest.json`` that proves what is in it."""

    schema_title = "system.BentoArchive"
    schema_version = "0.0.1"


class Predictions(Artifact):
    """What the packed model found on the test split: parquet tables and COCO JSON."""

    schema_title = "system.Predictions"
    schema_version = "0.0.1"


# kfp.local rebuilds a consumer's artifacts from this registry; a class it does not know arrives as plain Artifact.
for _kind in (TrainedModel, BentoArchive, Predictions):
    artifact_types._SCHEMA_TITLE_TO_TYPE.setdefault(_kind.schema_title, _kind)  # noqa: SLF001 - there is no public way
