"""Roll the serving Deployment to the champion; what does not answer is taken back."""

import logging
import re
import time

from components.model_deploy.cluster import Deployment
from components.model_deploy.smoke import predict_once
from components.shared.alias_history import read_moves, version_before
from components.shared.errors import ClusterError, ConfigError, in_one_line
from components.shared.progress import Notify, silent
from components.shared.registry import CHAMPION, SHORT, find_champion, model_key, read_record
from components.shared.store import open_store

logger = logging.getLogger(__name__)
_VERSION = re.compile(r"[0-9a-f]{64}")
ROLLOUT_SECONDS = 1500.0  # longer than the Deployment's own deadline, which says more
SMOKE_SECONDS = 120.0
PAUSE = 2.0  # seconds between two looks


def deploy_champion(
    deployment: Deployment, store_uri: str, name: str, *, patience: float = ROLLOUT_SECONDS, notify: Notify = silent
) -> str:
    """Have the Deployment serve the model's champion.

    Args:
        deployment: what serves.
        store_uri: where the registry is.
        name: the model.
        patience: seconds a rollout may take.
        notify: hears how far it is.

    Returns:
        The champion's version.

    Raises:
        ConfigError: the model has no champion.
        ClusterAccessError: the Deployment is not there, is no serving of ours, or may not be changed.
        ClusterError: the new version did not become ready or did not predict; the former one is back.
    """
    store = open_store(store_uri)
    version = find_champion(store, name)
    if version is None:
        raise ConfigError(f"The model {name!r} has no champion in {store_uri!r} that could be deployed: publish one.")
    tag = read_record(store, name, version).archive.tag
    former = deployment.version()
    before = (
        former if _VERSION.fullmatch(former) else version_before(read_moves(store, model_key(name), CHAMPION)) or ""
    )
    notify(0.1, f"rolling to {tag}")
    if former != version:
        logger.info("%s: from %s to %s", deployment, former[:SHORT], version[:SHORT])
        deployment.set_version(version)
    try:
        _settle(deployment, patience, notify)
        _try(deployment, tag, notify)
    except ClusterError as error:
        if former == version:
            raise
        raise ClusterError(_take_back(deployment, before, version, error, patience)) from error
    logger.info("%s serves %s", deployment, tag)
    return version


def _settle(deployment: Deployment, patience: float, notify: Notify) -> None:
    """Wait until every pod is one of the new version and ready."""
    until = time.monotonic() + patience
    while True:
        rollout = deployment.rollout()
        if rollout.done:
            return
        notify(0.2 + 0.6 * rollout.ready / max(1, rollout.wanted), f"{rollout.ready} of {rollout.wanted} pods ready")
        if rollout.stuck:
            raise ClusterError(f"{deployment} got stuck: {in_one_line(ClusterError(rollout.stuck))}.")
        if time.monotonic() >= until:
            raise ClusterError(
                f"{deployment} has {rollout.ready} of {rollout.wanted} pods of the new version ready"
                f" after {patience:.0f} s."
            )
        time.sleep(PAUSE)


def _try(deployment: Deployment, tag: str, notify: Notify) -> None:
    if deployment.rollout().wanted == 0:
        logger.warning("%s has no replicas: the version is set, and nothing was tried", deployment)
        return
    notify(0.9, "a first prediction")
    boxes = predict_once(deployment.address, tag, within=SMOKE_SECONDS)
    logger.info("%s predicts: %d boxes on a plain picture", tag, boxes)


def _take_back(deployment: Deployment, former: str, version: str, error: ClusterError, patience: float) -> str:
    """Roll back, and say how that went, as a sentence.

    A Deployment that followed the alias goes back to the champion before: the alias is at the new version already.
    """
    why = in_one_line(error)
    if not former:
        return f"{version[:SHORT]!r} cannot be served ({why}), and there is no version before to go back to."
    logger.warning("rolling back to %s: %s", former[:SHORT], why)
    try:
        deployment.set_version(former)
        _settle(deployment, patience, silent)
    except ClusterError as second:
        return (
            f"{version[:SHORT]!r} cannot be served ({why}), and {deployment} did not come back to {former[:SHORT]!r}"
            f" either ({in_one_line(second)}): look at its pods."
        )
    return f"{version[:SHORT]!r} cannot be served ({why}); {deployment} serves {former[:SHORT]!r} again."
