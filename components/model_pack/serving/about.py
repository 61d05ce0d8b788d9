"""What the service tells about its model."""

from dataclasses import asdict
from typing import Any

from components.model_pack.serving.predictor import Predictor


def describe(predictor: Predictor) -> dict[str, Any]:
    """What ``GET /model`` answers: the manifest without its lists of files, and what serves it now."""
    manifest = predictor.manifest.model_dump(mode="json", exclude={"source_files", "bento_files"})
    serving = {
        "runtime": predictor.runtime,
        "device": predictor.device,
        "workers": predictor.workers,
        "threads": predictor.threads,
        "limits": asdict(predictor.limits),
    }
    return manifest | {"serving": serving}
