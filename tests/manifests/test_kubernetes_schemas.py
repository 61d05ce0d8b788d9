import json
from typing import Any

import pytest

Rendered = dict[str, list[dict[str, Any]]]

VERSIONS = 3
NOT_OF_KUBERNETES = {
    "ClusterQueue", "LocalQueue", "NodePool", "PrometheusRule", "ResourceFlavor", "ServiceMonitor",
}  # fmt: skip


def _validator() -> Any:
    return pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")


def test_every_object_fits_the_last_three_versions_of_kubernetes(rendered: Rendered) -> None:
    validator = _validator()
    newest = list(dict.fromkeys(one.rpartition(".")[0] for one in validator.utils.all_versions()))[-VERSIONS:]
    different = {json.dumps(one.get("spec", one)): one for each in rendered.values() for one in each}
    without = set()
    for one in different.values():
        for version in newest:
            try:
                validator.validate(one, version, strict=True)
            except validator.SchemaNotFoundError:
                without.add(one["kind"])
    assert without == NOT_OF_KUBERNETES


def test_a_misspelt_field_is_found(rendered: Rendered) -> None:
    validator = _validator()
    served = next(one for one in rendered["laptop"] if one["kind"] == "Deployment")
    with pytest.raises(validator.ValidationError):
        validator.validate(
            {**served, "spec": {**served["spec"], "replica": 2}}, validator.latest_version(), strict=True
        )
