import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.model_pack.serving import metrics
from components.model_pack.serving.app import PREDICT
from components.model_pack.serving.metrics import Metrics

Documents = list[dict[str, Any]]
Rendered = dict[str, Documents]

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "manifests" / "components" / "monitoring"
NOT_OURS = {
    "container_memory_working_set_bytes",  # kubelet
    "kube_cronjob_status_last_successful_time",  # the rest is kube-state-metrics'
    "kube_deployment_status_replicas_available",
    "kube_pod_container_resource_requests",
    "kube_pod_container_status_last_terminated_reason",
    "kube_pod_container_status_terminated_reason",
    "kube_pod_owner",
    "kube_pod_status_phase",
    "kube_resourcequota",
    "minio_cluster_capacity_usable_free_bytes",
    "minio_cluster_capacity_usable_total_bytes",
}


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "prometheus-rule-detection.yaml").read_text())["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _expressions() -> list[str]:
    panels = json.loads((MONITORING / "detection.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    return asked + [rule["expr"] for rule in _rules()]


def _exposed(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv(metrics.DIRECTORY, raising=False)
    counted = Metrics()
    counted.introduce("shapes:1", "onnx", "cpu")
    counted.answered(PREDICT, 200, 0.1)
    counted.rejected("busy")
    counted.took(PREDICT, "wait", 0.1)
    counted._boxes.labels("star").inc()
    with counted.in_progress(PREDICT):
        return counted.exposition().decode()


def test_every_metric_of_ours_that_is_asked_for_is_one_the_service_has(monkeypatch: pytest.MonkeyPatch) -> None:
    exposed = set(re.findall(r"^(detector_\w+)", _exposed(monkeypatch), re.MULTILINE))
    asked = {name for one in _expressions() for name in re.findall(r"\bdetector_\w+", one)}
    assert asked
    assert asked <= exposed


def test_every_other_metric_is_one_we_know_the_source_of() -> None:
    asked = {name for one in _expressions() for name in re.findall(r"\b(?:kube|container|minio|argo)_[a-z0-9_]+", one)}
    assert asked - {"container_name"} == NOT_OURS & asked
    assert asked == NOT_OURS


def test_what_the_service_is_scaled_by_is_a_metric_of_it(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    scaler = next(one for one in rendered["gpu"] if one["kind"] == "HorizontalPodAutoscaler")
    asked = [one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"] if one["type"] == "Pods"]
    assert asked == ["detector_requests_in_progress"]
    assert all(f"\n{name}{{" in _exposed(monkeypatch) for name in asked)


def test_labels_that_are_asked_for_are_labels_the_service_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _exposed(monkeypatch)
    for expression in _expressions():
        for name, inside in re.findall(r"(detector_\w+)\{([^}]*)\}", expression):
            given = re.search(rf"^{name}\{{([^}}]*)\}}", text, re.MULTILINE)
            labels = set(re.findall(r"(\w+)=", given[1] if given else "")) | {"namespace", "pod"}
            assert set(re.findall(r"(\w+)\s*=~?\s*\"", inside)) <= labels, expression


def test_rules_record_what_other_expressions_ask_for() -> None:
    recorded = {rule["record"] for rule in _rules() if "record" in rule}
    asked = {name for one in _expressions() for name in re.findall(r"\bdetector(?::\w+)+", one)}
    assert recorded == asked


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in _rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"warning", "critical"}
            assert {"summary", "runbook"} == set(rule["annotations"])


def test_the_dashboard_has_titles_units_and_no_panel_on_another() -> None:
    panels = json.loads((MONITORING / "detection.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels) == len({panel["title"] for panel in panels})
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in panels)


@pytest.mark.parametrize("overlay", ["gpu", "spot", "multi-user"])
def test_grafana_finds_the_dashboard_by_its_label(rendered: Rendered, overlay: str) -> None:
    (found,) = [one for one in rendered[overlay] if one["metadata"]["name"] == "detection-dashboard"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["detection.json"])["title"] == "Detection pipeline"
