import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Documents = list[dict[str, Any]]
Rendered = dict[str, Documents]

ROOT = Path(__file__).parents[2]
OVERLAYS = ("laptop", "gpu", "spot", "multi-user", "secured")
POLICIES = (
    "images_by_digest", "hardened", "probed", "tokens", "accounts", "least_rights", "selectors", "network",
    "egress_reaches", "targets", "ports_lead_on", "references", "secrets_are_secret", "labelled",
)  # fmt: skip


def test_every_policy_is_asked(policies: ModuleType) -> None:
    assert tuple(one.__name__ for one in policies.ALL) == POLICIES


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_keeps_the_policy(rendered: Rendered, policies: ModuleType, overlay: str, policy: str) -> None:
    assert getattr(policies, policy)(rendered[overlay]) == []


def _one(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(one for one in documents if one["kind"] == kind and one["metadata"]["name"] == name)


def _pod(documents: Documents, kind: str = "Deployment", name: str = "detection-serving") -> dict[str, Any]:
    return _one(documents, kind, name)["spec"]["template"]["spec"]


def _container(documents: Documents) -> dict[str, Any]:
    return _pod(documents)["containers"][0]


BREACHES: dict[str, tuple[str, Callable[[list[dict[str, Any]]], Any]]] = {
    "a tag in place of a digest": ("images_by_digest", lambda d: _container(d).update(image="minio:latest")),
    "a digest cut short": ("images_by_digest", lambda d: _container(d).update(image="minio@sha256:12ab")),
    "a root user": ("hardened", lambda d: _pod(d)["securityContext"].update(runAsUser=0)),
    "no seccomp": ("hardened", lambda d: _pod(d)["securityContext"].pop("seccompProfile")),
    "a host path": ("hardened", lambda d: _pod(d)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    "the host's network": ("hardened", lambda d: _pod(d).update(hostNetwork=True)),
    "a writable root": ("hardened", lambda d: _container(d)["securityContext"].update(readOnlyRootFilesystem=False)),
    "a capability": ("hardened", lambda d: _container(d)["securityContext"].update(capabilities={"add": ["NET_RAW"]})),
    "no memory limit": ("hardened", lambda d: _container(d)["resources"]["limits"].pop("memory")),
    "an init container without limits": ("hardened", lambda d: _pod(d)["initContainers"][0].pop("resources")),
    "no readiness": ("probed", lambda d: _container(d).pop("readinessProbe")),
    "a token": ("tokens", lambda d: _pod(d).update(automountServiceAccountToken=True)),
    "an account with a token": (
        "tokens",
        lambda d: _one(d, "ServiceAccount", "detection-serving").pop("automountServiceAccountToken"),
    ),
    "an account that is not there": ("accounts", lambda d: _pod(d).update(serviceAccountName="nobody")),
    "a role for nobody": ("accounts", lambda d: d.remove(_one(d, "RoleBinding", "pipeline-run"))),
    "a wildcard": ("least_rights", lambda d: _one(d, "Role", "pipeline-run")["rules"][0].update(verbs=["*"])),
    "all secrets": ("least_rights", lambda d: _one(d, "Role", "pipeline-run")["rules"][1].pop("resourceNames")),
    "a service of nothing": (
        "selectors",
        lambda d: _one(d, "Service", "detection-serving")["spec"].update(selector={"app": "x"}),
    ),
    "a budget of nothing": (
        "selectors",
        lambda d: _one(d, "PodDisruptionBudget", "detection-serving")["spec"].update(
            selector={"matchLabels": {"app": "x"}}
        ),
    ),
    "no default deny": (
        "network",
        lambda d: d.remove(_one(d, "NetworkPolicy", "detection-default-deny-services")),
    ),
    "a port in no policy": (
        "network",
        lambda d: _container(d)["ports"].append({"name": "grpc", "containerPort": 3001}),
    ),
    "a policy for everybody": (
        "network",
        lambda d: _one(d, "NetworkPolicy", "detection-serving")["spec"]["ingress"][0].pop("from"),
    ),
    "a store that lets nobody in": (
        "egress_reaches",
        lambda d: _one(d, "NetworkPolicy", "detection-minio")["spec"]["ingress"][0]["from"].pop(1),
    ),
    "an autoscaler of nothing": (
        "targets",
        lambda d: _one(d, "HorizontalPodAutoscaler", "detection-serving")["spec"]["scaleTargetRef"].update(name="x"),
    ),
    "an unknown priority": ("targets", lambda d: _pod(d).update(priorityClassName="system-node-critical")),
    "a port that leads nowhere": (
        "ports_lead_on",
        lambda d: _one(d, "Service", "detection-serving")["spec"]["ports"][0].update(targetPort="grpc"),
    ),
    "settings that are not there": ("references", lambda d: d.remove(_one(d, "ConfigMap", "detection-settings"))),
    "KFP's default password": (
        "secrets_are_secret",
        lambda d: _one(d, "Secret", "detection-store").update(stringData={"AWS_SECRET_ACCESS_KEY": "minio123"}),
    ),
    "a placeholder": (
        "secrets_are_secret",
        lambda d: _one(d, "Secret", "detection-minio-root").update(stringData={"password": "REPLACE-ME-REPLACE-ME"}),
    ),
    "no label": ("labelled", lambda d: _one(d, "Deployment", "detection-serving")["metadata"].pop("labels")),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_planted_breach_is_found_by_its_policy(rendered: Rendered, policies: ModuleType, breach: str) -> None:
    policy, plant = BREACHES[breach]
    documents = copy.deepcopy(rendered["laptop"])
    plant(documents)
    assert len(getattr(policies, policy)(documents)) >= 1


def test_each_policy_has_a_breach_that_it_finds() -> None:
    assert {policy for policy, _ in BREACHES.values()} == set(POLICIES)


def test_what_git_has_cannot_be_shipped_as_it_is(
    render: Callable[[Path], Documents], policies: ModuleType, tmp_path: Path
) -> None:
    if "run-scripts-configure-first" not in (ROOT / "manifests/components/images/kustomization.yaml").read_text():
        pytest.skip("images are configured in this checkout")
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns("*.env"))
    for name in ("store.env", "minio-root.env"):
        (tmp_path / "manifests/overlays/laptop" / name).write_text("password=REPLACE-ME\n")
    documents = render(tmp_path / "manifests" / "overlays" / "laptop")
    assert len(policies.images_by_digest(documents)) == 3
    assert len(policies.secrets_are_secret(documents)) == 2
