"""Tell a Kubeflow Model Registry of a published version, through the registry's own client.

https://www.kubeflow.org/docs/components/model-registry/ - the archive stays in our store; the registry gets its name,
version, address, numbers and origin. Each of the three records is made only where it is missing, so telling it again
changes nothing and a retry completes what an earlier attempt began.
"""

import asyncio
import importlib
import logging
import os
from pathlib import Path
from typing import Any

from components.shared.archive import BENTO
from components.shared.errors import ConfigError, StoreError, in_one_line
from components.shared.registry import ModelRecord, archive_key
from components.shared.store import Store

TOKEN = "MODEL_REGISTRY_TOKEN"  # noqa: S105 - the variable's name
TOKEN_PATH = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105 - where a pipeline's service account token is mounted
FORMAT = "bento"
AUTHOR = "kubeflow-detection-pipeline"
_SECONDS = 60.0  # for all requests together
_LONGEST = 300  # characters of the registry's own answer that are shown
_logger = logging.getLogger(__name__)
Properties = dict[str, bool | int | float | str]


def check_registry(address: str) -> None:
    """Refuse an address that cannot be told before anything is published.

    Raises:
        ConfigError: it is no plain http(s) address, or the client is not installed.
    """
    if address:
        _checked(address)
        _client("core")


def tell_registry(address: str, record: ModelRecord, store: Store) -> None:
    """Register the model, the version and its archive's address where they are missing.

    The token comes from the environment: ``MODEL_REGISTRY_TOKEN``, or the file ``KF_PIPELINES_SA_TOKEN_PATH`` names.

    Args:
        address: of the registry, such as ``https://registry.example:8080``; empty: nobody is told.
        record: of the version, committed in our own registry.
        store: where the archive lies.

    Raises:
        ConfigError: the address is no plain http(s) one, or the client is not installed.
        StoreError: the registry cannot be reached or refuses; telling it again completes it.
    """
    if not address:
        return
    core = _client("core")
    configuration = _client("core").Configuration(host=_checked(address), access_token=_token() or None)
    client = core.ModelRegistryAPIClient(configuration)
    try:
        asyncio.run(asyncio.wait_for(_tell(client, record, store), _SECONDS))
    except Exception as error:
        why = "it did not answer in time" if isinstance(error, TimeoutError) else _reason(error)
        raise StoreError(
            f"The model registry {address!r} could not be told of {record} ({why}): the version is published in"
            f" {store.uri!r} nevertheless; mend the registry and run the step again."
        ) from error
    _logger.info("the model registry %s knows %s", address, record)


async def _tell(client: Any, record: ModelRecord, store: Store) -> None:  # noqa: ANN401 - the library is untyped
    types = _client("types")
    model = await client.get_registered_model_by_params(name=record.name)
    if model is None:
        model = await client.upsert_registered_model(types.RegisteredModel(name=record.name, owner=AUTHOR))
    name = record.archive.version
    version = await client.get_model_version_by_params(registered_model_id=model.id, name=name)
    if version is None:
        told = types.ModelVersion(
            name=name,
            author=AUTHOR,
            description=f"Version {record.version} of {record.name}.",
            custom_properties=describe(record),
        )
        version = await client.upsert_model_version(told, model.id)
    known = await client.get_model_artifacts(version.id)
    if not any(artifact.name == record.name for artifact in known):
        artifact = types.ModelArtifact(
            name=record.name,
            uri=f"{store.uri}/{archive_key(record)}/{BENTO}",
            model_format_name=FORMAT,
            model_format_version=_format_version(record),
            custom_properties={"sha256": record.bento_sha256},
        )
        await client.upsert_model_version_artifact(artifact, version.id)


def describe(record: ModelRecord) -> Properties:
    """What the registry keeps beside a version: its digest, numbers of the evaluation, and where it comes from."""
    lineage = record.lineage
    told: Properties = {
        "version": record.version,
        "model digest": record.archive.model_digest,
        "framework": lineage.framework,
        "run": lineage.run,
        "code": lineage.code,
        "classes": ", ".join(record.archive.classes),
        "runtimes": ", ".join(record.archive.runtime_names),
    }
    told |= {f"{split} dataset": version for split, version in lineage.datasets.items()}
    told |= {name: float(value) for name, value in lineage.evaluation.items()}
    if lineage.gate is not None:
        told["gate passed"] = lineage.gate.passed
        told["gate reasons"] = "\n".join(lineage.gate.reasons)
    return {name: value for name, value in told.items() if value != ""}


def _format_version(record: ModelRecord) -> str:
    pins = dict(pin.partition("==")[::2] for pin in record.archive.requirements)
    return pins.get("bentoml", "1")


def _client(part: str) -> Any:  # noqa: ANN401 - the library is untyped
    try:
        return importlib.import_module(f"model_registry.{part}")
    except ImportError as error:
        raise ConfigError(
            "model_registry is set, but its client is not installed: run"
            " pip install 'kubeflow-detection-pipeline[registry]', or leave model_registry empty."
        ) from error


def _checked(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    if scheme not in {"http", "https"} or not separator or not rest or "@" in rest or any(map(str.isspace, rest)):
        raise ConfigError(
            f"model_registry is {address.rpartition('@')[2]!r}{' behind a user' if '@' in address else ''}: give an"
            " address such as https://registry.example:8080, without a user or password."
        )
    return address.rstrip("/")


def _token() -> str:
    token = os.environ.get(TOKEN, "").strip()
    path = os.environ.get(TOKEN_PATH, "")
    if token or not path:
        return token
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"{TOKEN_PATH} names {path!r}, which cannot be read ({error.strerror}): mount the token, or unset it."
        ) from error


def _reason(error: Exception) -> str:
    """What the registry answered, shortly and without headers."""
    status, reason = getattr(error, "status", None), getattr(error, "reason", None)
    if status:
        return f"it answered {status} {reason or ''}".rstrip()
    return in_one_line(error, most=_LONGEST)
