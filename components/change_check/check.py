"""Compare what a run is about to make a model from with what the champion was made from."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

from components.shared.model_lineage import CODE, code_version
from components.shared.progress import Notify, silent
from components.shared.registry import SHORT, basis_key, find_champion
from components.shared.store import open_store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """What came of the comparison.

    Attributes:
        changed: whether there is anything to do.
        basis: digest of the data, parameters and code of this run.
        reason: why there is nothing to do, as a sentence.
    """

    changed: bool
    basis: str
    reason: str = ""


def check_change(
    data: Mapping[str, str],
    parameters: Mapping[str, object],
    store_uri: str,
    name: str,
    *,
    only_if_changed: bool,
    notify: Notify = silent,
) -> Checked:
    """Whether the run has anything to do.

    Args:
        data: content digests of the splits by name; without one of them the run counts as changed.
        parameters: what decides the model and its evaluation, by name.
        store_uri: where the registry is.
        name: the model.
        only_if_changed: ``False`` compares nothing: the run was asked for.
        notify: hears how far it is.

    Raises:
        StoreError: the store failed, or the champion's record is broken.
    """
    basis = basis_of(data, parameters)
    if not only_if_changed or not all(data.values()):
        return Checked(changed=True, basis=basis)
    notify(0.5, "looking at the champion")
    store = open_store(store_uri)
    version = find_champion(store, name)
    if version is None or not store.exists(basis_key(name, version, basis)):
        logger.info("%s", f"the champion {version[:SHORT]} came from something else" if version else "no champion yet")
        return Checked(changed=True, basis=basis)
    reason = f"Unchanged: the champion {name}@{version[:SHORT]} came from the same data, parameters and code."
    logger.info("%s", reason)
    return Checked(changed=False, basis=basis, reason=reason)


def basis_of(data: Mapping[str, str], parameters: Mapping[str, object]) -> str:
    """sha256 over data, parameters and code; a whole number counts the same with and without its ``.0``."""
    code = os.environ.get(CODE) or code_version()
    facts = {"code": code, "data": dict(data), "parameters": _plain(parameters)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _plain(value: object) -> object:
    """KFP brings the numbers of lists and mappings as floats here, and as what they are in a cluster."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
