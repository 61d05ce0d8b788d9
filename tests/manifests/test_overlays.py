import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Documents = list[dict[str, Any]]
Rendered = dict[str, Documents]

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = ("laptop", "gpu", "spot", "multi-user")
CLUSTER_SCOPED = {"PriorityClass", "NodePool", "ClusterQueue", "ResourceFlavor"}
NAMED_OTHERWISE = {"kustomization.yaml", "parameters.yaml"}


def _one(documents: Documents, kind: str, name: str) -> dict[str, Any]:
    return next(one for one in documents if one["kind"] == kind and one["metadata"]["name"] == name)


def _parameters(overlay: str) -> dict[str, str]:
    return yaml.safe_load((MANIFESTS / "overlays" / overlay / "parameters.yaml").read_text())["data"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_in_the_overlays_namespace_or_in_none(rendered: Rendered, overlay: str) -> None:
    wanted = yaml.safe_load((MANIFESTS / "overlays" / overlay / "kustomization.yaml").read_text())["namespace"]
    for one in rendered[overlay]:
        expected = None if one["kind"] in CLUSTER_SCOPED else wanted
        assert one["metadata"].get("namespace") == expected, one["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_parameters_go_where_they_belong_and_are_not_installed(rendered: Rendered, overlay: str) -> None:
    documents, given = rendered[overlay], _parameters(overlay)
    assert "parameters" not in {one["metadata"]["name"] for one in documents}
    scaler = _one(documents, "HorizontalPodAutoscaler", "detection-serving")["spec"]
    assert scaler["minReplicas"] == int(given["servingMinReplicas"])
    assert scaler["maxReplicas"] == int(given["servingMaxReplicas"])
    assert _one(documents, "ConfigMap", "detection-settings")["data"] == {"STORE": given["store"]}
    assert _one(documents, "ConfigMap", "detection-serving")["data"] == {"MODEL": given["model"]}
    quota = _one(documents, "ResourceQuota", "detection-gpus")["spec"]["hard"]
    assert quota == {"requests.nvidia.com/gpu": given["gpuLimit"]}
    (claim,) = _one(documents, "StatefulSet", "detection-minio")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == given["storeSize"]
    assert not re.search("set-by-parameters", yaml.safe_dump_all(documents))


@pytest.mark.parametrize("overlay", ["gpu", "spot"])
def test_gpus_are_limited_alike_by_karpenter_and_by_the_queue(rendered: Rendered, overlay: str) -> None:
    limit = _parameters(overlay)["gpuLimit"]
    pools = [one["spec"]["limits"]["nvidia.com/gpu"] for one in rendered[overlay] if one["kind"] == "NodePool"]
    queue = _one(rendered[overlay], "ClusterQueue", "detection")["spec"]["resourceGroups"][1]
    quotas = [flavor["resources"][0]["nominalQuota"] for flavor in queue["flavors"]]
    assert pools == quotas == [limit] * (2 if overlay == "spot" else 1)


def test_what_asks_for_spot_nodes_gets_them_and_nobody_else_does(rendered: Rendered) -> None:
    from pipelines.backends.cluster.plan import SPOT, SPOT_TOLERATION  # noqa: PLC0415 - after the skip for kubectl

    pool = _one(rendered["spot"], "NodePool", "detection-gpu-spot")["spec"]["template"]["spec"]
    assert {"key": SPOT_TOLERATION["key"], "value": "true", "effect": SPOT_TOLERATION["effect"]} in pool["taints"]
    ((label, value),) = SPOT.items()
    assert {"key": label, "operator": "In", "values": [value]} in pool["requirements"]
    assert "detection-gpu-spot" not in {one["metadata"]["name"] for one in rendered["gpu"]}


def test_the_step_that_deploys_finds_its_deployment_its_variable_and_its_rights(rendered: Rendered) -> None:
    from components.model_deploy.cluster import PORT, VARIABLE  # noqa: PLC0415 - after the skip for kubectl

    served = _one(rendered["laptop"], "Deployment", "detection-serving")
    spec = served["spec"]["template"]["spec"]
    plain = [one for each in spec["initContainers"] for one in each["env"] if one["name"] == VARIABLE]
    assert plain == [{"name": VARIABLE, "value": "champion"}]
    assert _one(rendered["laptop"], "Service", served["metadata"]["name"])["spec"]["ports"][0]["port"] == PORT
    (rule,) = _one(rendered["laptop"], "Role", "deploy")["rules"]
    assert rule["resourceNames"] == [served["metadata"]["name"]]
    assert {"get", "patch"} == set(rule["verbs"])


def test_the_taint_of_gpu_nodes_is_what_runs_tolerate_by_default(rendered: Rendered) -> None:
    from pipelines.config import TrainingConfig  # noqa: PLC0415 - after the skip for kubectl

    (tolerated,) = TrainingConfig().tolerations
    for one in rendered["spot"]:
        if one["kind"] == "NodePool":
            assert tolerated["key"] in {taint["key"] for taint in one["spec"]["template"]["spec"]["taints"]}
            assert one["spec"]["limits"].keys() == {TrainingConfig().accelerator}


def test_the_laptop_needs_nothing_beside_kubeflow(rendered: Rendered) -> None:
    known = re.compile(r"v1|(apps|batch|policy|autoscaling|(networking|rbac\.authorization|scheduling)\.k8s\.io)/v[12]")
    assert all(known.fullmatch(one["apiVersion"]) for one in rendered["laptop"])
    metrics = _one(rendered["laptop"], "HorizontalPodAutoscaler", "detection-serving")["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Resource"]


@pytest.mark.parametrize("piece", ["minio", "serving", "gpu-node-pool", "kueue", "monitoring"])
def test_a_piece_is_taken_out_by_deleting_its_line(
    configured: Path, render: Callable[[Path], Documents], piece: str
) -> None:
    copy = configured / "overlays" / f"without-{piece}"
    shutil.copytree(configured / "overlays" / "gpu", copy)
    file = copy / "kustomization.yaml"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if line != f"- ../../components/{piece}\n"))
    whole = render(configured / "overlays" / "gpu")
    assert 0 < len(render(copy)) < len(whole)


def test_behind_tls_everybody_speaks_tls(rendered: Rendered) -> None:
    probes = _one(rendered["secured"], "StatefulSet", "detection-minio")["spec"]["template"]["spec"]["containers"][0]
    assert all(probes[f"{one}Probe"]["httpGet"]["scheme"] == "HTTPS" for one in ("startup", "readiness", "liveness"))
    launcher = _one(rendered["secured"], "ConfigMap", "kfp-launcher")["data"]
    assert yaml.safe_load(launcher["providers"])["minio"]["default"]["disableSSL"] is False
    assert _one(rendered["secured"], "ServiceMonitor", "detection-minio")["spec"]["endpoints"][0]["scheme"] == "https"


def test_kfps_launcher_finds_the_store_and_its_key(rendered: Rendered) -> None:
    from pipelines.resources import STORE_SECRET  # noqa: PLC0415 - after the skip for kubectl

    launcher = _one(rendered["laptop"], "ConfigMap", "kfp-launcher")["data"]
    provider = yaml.safe_load(launcher["providers"])["minio"]["default"]
    secret = provider["credentials"]["secretRef"]
    keys = _one(rendered["laptop"], "Secret", secret["secretName"])["data"]
    service = _one(rendered["laptop"], "Service", "detection-minio")
    assert secret["secretName"] == STORE_SECRET
    assert {secret["accessKeyKey"], secret["secretKeyKey"]} <= set(keys)
    assert provider["endpoint"] == f"detection-minio:{service['spec']['ports'][0]['port']}"
    assert launcher["defaultPipelineRoot"].startswith("minio://detection/")
    assert _parameters("laptop")["store"].startswith("s3://detection/")


def test_the_steps_find_every_key_that_they_require(rendered: Rendered) -> None:
    from pipelines import resources  # noqa: PLC0415 - after the skip for kubectl

    keys = set(_one(rendered["laptop"], "Secret", resources.STORE_SECRET)["data"])
    assert set(resources.STORE_REQUIRED) <= keys <= {*resources.STORE_REQUIRED, *resources.STORE_OPTIONAL}


def test_a_file_holds_one_document_and_is_named_after_its_kind() -> None:
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        documents = list(yaml.safe_load_all(path.read_text()))
        assert len(documents) == 1, path
        if path.name not in NAMED_OTHERWISE:
            kind = re.sub(r"(?<!^)(?=[A-Z])", "-", documents[0]["kind"]).lower()
            assert path.stem == kind or path.stem.startswith(f"{kind}-"), path


def test_every_file_of_a_folder_is_in_its_kustomization() -> None:
    for path in sorted(MANIFESTS.rglob("kustomization.yaml")):
        text = path.read_text()
        for beside in path.parent.glob("*.*"):
            if beside.suffix in {".yaml", ".json"} and beside != path:
                assert re.search(rf"(- |path: |\[){re.escape(beside.name)}\b", text), beside


def test_no_password_is_in_git() -> None:
    listed = subprocess.run(["git", "ls-files", "manifests"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not [name for name in listed.stdout.split() if name.endswith(".env")]
    assert "*.env" in (MANIFESTS / ".gitignore").read_text()
