"""What a training starts from: an architecture, weights, or both, found, fetched and checked before anything else."""

import difflib
import logging
from dataclasses import replace
from pathlib import Path

from components.model_train.start_weights import WEIGHTS, Weights, fetch_object, find_weights, read_file
from components.model_train.trainers.base import Hyperparameters, Start
from components.shared.detection.torchvision_models import ARCHITECTURES
from components.shared.errors import ConfigError
from components.shared.files import digest_of_digests, sha256_file
from components.shared.registry import CHAMPION, find_champion
from components.shared.source_addresses import scheme_of
from components.shared.store import Store

YAML = (".yaml", ".yml")
OFFICIAL = "coco"  # the weights torchvision's own models are published with

logger = logging.getLogger(__name__)


def find_start(parameters: Hyperparameters, store: Store, name: str, folder: Path) -> Start:
    """What a training starts from.

    ``parameters.model`` is an architecture (a model YAML by name, path or ``s3://`` address, or a torchvision model) or
    weights (anything ``start_from`` may be that ends in ``.pt``); it may be empty beside ``start_from``, as weights
    know their architecture. With both, the weights go into that architecture, which must be of the weights' own kind.

    ``parameters.start_from`` is ``champion`` (this model's champion), a published version or ``LEAST`` or more of its
    first digits, either of them with ``NAME@`` before it for another model's, ``s3://bucket/key``, a path to weights, a
    model folder or a packed model, or official weights by name (``coco`` beside a torchvision model). ``champion``
    while there is none yet: the training starts from ``model`` alone, so that the first of a series of retrainings
    needs no other parameters than the next; ``model`` may be weights for this.

    Args:
        parameters: what is asked for.
        store: where models are published.
        name: this project's model: the dataset's name.
        folder: receives what has to be fetched.

    Raises:
        ConfigError: there is no such model or weights, they are no detector's, or they do not belong together.
        ArchiveError: a packed model is broken, or not what it claims to be.
        StoreError: the store failed.
        TrainingError: official weights cannot be downloaded.
    """
    model, source = parameters.model.strip(), parameters.start_from.strip()
    if not model and not source:
        raise ConfigError("Neither model nor start_from says what to train: give model=yolo11n.yaml, for example.")
    from_champion, missing = source in {CHAMPION, f"{name}@{CHAMPION}"}, ""
    if from_champion and find_champion(store, name) is None:
        if not model:
            raise ConfigError(
                f"start_from={source!r}: the model {name!r} has no champion in {store.uri!r} yet. Give model beside it"
                " (yolo11n.yaml, or yolo11s.pt), which is used until there is a champion."
            )
        source, missing = "", f", as {name} has no champion yet"
    if source and model.endswith(WEIGHTS):
        if not from_champion:
            raise ConfigError(f"model={model!r} and start_from={source!r} are both weights: give one of them.")
        model = ""  # it was for the time before there was a champion
    elif model.endswith(WEIGHTS):
        model, source = "", model
    start = _start(model, _weights(source, model, store, name, folder), folder)
    if missing:
        start = replace(start, origin=(start.origin or f"{model} from scratch") + missing)
    logger.info("start from %s", start.origin or f"{start.architecture}, from scratch")
    return start


def _weights(source: str, model: str, store: Store, name: str, folder: Path) -> Weights | None:
    if source == OFFICIAL and model in ARCHITECTURES:
        from components.model_train.trainers.torchvision.start import official_weights  # noqa: PLC0415 - heavy

        return read_file(official_weights(model), f"official {model}", source)
    return find_weights(source, store, name, folder) if source else None


def _start(model: str, weights: Weights | None, folder: Path) -> Start:
    if model in ARCHITECTURES or (weights and weights.framework == "torchvision"):
        return _torchvision(model, weights)
    return _ultralytics(model, weights, folder) if model else _alone(weights)


def _alone(weights: Weights | None) -> Start:
    """Weights that know their architecture."""
    assert weights is not None  # noqa: S101 - without a model there are weights
    return Start(
        framework=weights.framework,
        architecture=weights.architecture,
        weights=weights.path,
        origin=weights.origin,
        sha256=sha256_file(weights.path),
        classes=weights.classes,
    )


def _torchvision(model: str, weights: Weights | None) -> Start:
    if weights is None:
        return Start(framework="torchvision", architecture=model)
    if model not in {"", weights.architecture}:
        made = f"a torchvision {weights.architecture!r}" if weights.architecture else "an ultralytics model"
        raise ConfigError(
            f"model={model!r} and the weights {weights.origin!r} do not belong together: they are those of {made}, of"
            " which no tensor is used in another model. Leave model empty to train what the weights are."
        )
    return _alone(weights)


def _ultralytics(model: str, weights: Weights | None, folder: Path) -> Start:
    if not model.endswith(YAML):
        near = difflib.get_close_matches(model, ARCHITECTURES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"give a model YAML, weights or {', '.join(ARCHITECTURES)}."
        raise ConfigError(f"There is no model {model!r}: {hint}")
    from components.model_train.trainers.ultralytics.start import check_architecture  # noqa: PLC0415 - heavy

    fetched = scheme_of(model) is not None
    path = check_architecture(str(fetch_object(model, folder)) if fetched else model)
    own = sha256_file(path) if path.is_file() else ""
    architecture = str(path.absolute()) if own else model
    if weights is None:
        return Start(framework="ultralytics", architecture=architecture, sha256=own)
    from components.model_train.trainers.ultralytics.start import begin  # noqa: PLC0415 - heavy

    start = replace(_alone(weights), architecture=architecture)
    begin(start, start.classes)  # refuses what does not belong together
    return replace(start, sha256=digest_of_digests({"model": own, "weights": start.sha256})) if own else start
