"""What is sent to a cluster: a pipeline's IR and its Kubernetes settings as one text, named after its content."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from components.shared.errors import ConfigError
from components.shared.files import write_atomically
from components.shared.model_lineage import code_version
from pipelines import compile as compiling
from pipelines import executor, sweep, training

IMAGES_VARIABLE = "PIPELINE_IMAGES"  # another file than IMAGES_FILE
IMAGES_FILE = Path(__file__).parents[1] / "images" / "images.json"
NAMES = {"training": training.NAME, "sweep": sweep.NAME, "executor": executor.NAME}
_SHOWN = 12  # digits of the digest in a version's name


@dataclass(frozen=True)
class Package:
    """A pipeline as a cluster takes it.

    Attributes:
        pipeline: ``training``, ``sweep`` or ``executor``.
        name: what KFP calls it.
        text: two YAML documents, the IR and the platform's settings.
        digest: sha256 of the text, in hex.
        version_name: a name for the pipeline's version; the same content has the same name.
    """

    pipeline: str
    name: str
    text: str
    digest: str
    version_name: str


def build_package(
    pipeline: str = "training",
    images: Mapping[str, str] | None = None,
    *,
    parallelism: int = sweep.PARALLELISM,
    caching: bool = True,
    fixed_source: bool = False,
) -> Package:
    """Compile a pipeline for a cluster.

    Args:
        pipeline: ``training``, ``sweep`` or ``executor``.
        images: image by step or by the name the components use; ``None``: those of ``images/images.json`` where there
            is one, else the defaults.
        parallelism: trainings of a sweep at a time.
        caching: ``False`` runs every step; the client's own switch reaches only the outermost tasks.
        fixed_source: the source never means anything else (the sample, or a digest in the store's ``raw/``), so that
            loading it may come from the cache, and with it whatever stands on the same artifacts. Any other source is
            looked at anew, whose artifacts are new to the cluster's cache, even of the same content.

    Raises:
        ConfigError: there is no such pipeline, or the file of images cannot be used.
    """
    if pipeline not in NAMES:
        raise ConfigError(f"There is no pipeline {pipeline!r}: use one of {', '.join(NAMES)}.")
    chosen = known_images() if images is None else images
    if pipeline == "executor":
        documents = executor.compile_package("", chosen)
    else:
        documents = compiling.compile_package(pipeline, chosen, parallelism=parallelism)
    if not caching:
        _forget_caching(documents[0])
    elif fixed_source:
        _tasks(documents[0])["data-load"]["cachingOptions"] = {"enableCache": True}
    text = "---\n".join(compiling.dump(document) for document in documents)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Package(pipeline, NAMES[pipeline], text, digest, f"{code_version()}-{digest[:_SHOWN]}")


def write_package(package: Package, path: Path) -> None:
    """Write a package's text, atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(package.text, encoding="utf-8")


def known_images() -> dict[str, str]:
    """The images that were built last, by the name the components use; empty when none were.

    Raises:
        ConfigError: the file is none of that kind.
    """
    chosen = os.environ.get(IMAGES_VARIABLE, "")
    path = Path(chosen) if chosen else IMAGES_FILE
    if not chosen and not path.is_file():
        return {}
    try:
        return TypeAdapter(dict[str, str]).validate_python(json.loads(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"The images' file {str(path)!r} cannot be read: {error.strerror}.") from error
    except (ValueError, ValidationError) as error:
        raise ConfigError(f"The images' file {str(path)!r} is no JSON object of names and images.") from error


def _forget_caching(spec: dict[str, Any]) -> None:
    for task in _tasks(spec).values():
        if "cachingOptions" in task:
            task["cachingOptions"] = {}


def _tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks of a DAG and of the groups in it, by name."""
    dags = [spec["root"], *spec["components"].values()]
    return {name: task for dag in dags for name, task in dag.get("dag", {}).get("tasks", {}).items()}
