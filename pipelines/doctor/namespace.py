"""The doctor's look at the namespace that runs live in: security, accounts, rights, quotas and limits."""

import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from kubernetes import client as kubernetes_client
from kubernetes.utils.quantity import parse_quantity

from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.connection import Cluster
from pipelines.doctor.findings import Finding, ok, problem, warning
from pipelines.doctor.nodes import Needs, shown
from pipelines.doctor.package import PackageNeeds
from pipelines.doctor.secrets import TRIES, read
from pipelines.submit_cluster import SERVICE_ACCOUNT

_OTHER_PODS = frozenset({"NotTerminating", "BestEffort", "PriorityClass", "CrossNamespacePodAffinity"})
_ENFORCE = "pod-security.kubernetes.io/enforce"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
ACCOUNTS = ("pipeline-runner", "default-editor")  # KFP's own with one user, and with several
RIGHTS = (
    ("list", "", "pods", "", "runs show cannot say why a step waits"),
    ("get", "", "pods", "log", "runs logs cannot show a step's output"),
    ("list", "", "events", "", "runs show cannot name a missing resource"),
    ("get", "argoproj.io", "workflows", "", "runs show knows less of each step"),
    ("patch", "argoproj.io", "workflows", "", "runs abort cannot end retries at once"),
    ("delete", "", "pods", "", "runs abort cannot end pods that hang"),
)


def check_security(cluster: Cluster, namespace: str, needs: PackageNeeds) -> Iterator[Finding]:
    """The Pod Security level that the namespace enforces, against what the pods of our steps ask for."""
    found = read(cluster.core().read_namespace, namespace, None, "read the namespace")
    if found is None:
        yield problem("namespace", f"there is no namespace {namespace!r}", "Give yours with --namespace.")
        return
    level = (found.metadata.labels or {}).get(_ENFORCE, "")
    if level == "restricted" and needs.may_be_root:
        said = f"{namespace!r} enforces 'restricted', and {', '.join(needs.may_be_root)} may run as root"
        yield problem("pod security", said, "Compile with this release, or let the namespace enforce 'baseline'.")
    elif not level:
        fix = f"kubectl label namespace {namespace} {_ENFORCE}=baseline"
        yield warning("pod security", f"{namespace!r} enforces no level: any pod may do anything", fix)
    else:
        yield ok("pod security", f"{namespace!r} enforces {level!r}, which our pods keep")


def check_accounts(cluster: Cluster, namespace: str, *, multi_user: bool) -> Iterator[Finding]:
    """The service account that runs get when they name none."""
    name = os.environ.get(SERVICE_ACCOUNT) or (ACCOUNTS[1] if multi_user else ACCOUNTS[0])
    found = read(cluster.core().read_namespaced_service_account, name, namespace, "read service accounts")
    if found is None:
        said = f"there is no {name!r} in {namespace!r}: no pod of a run could start"
        yield problem("service account", said, "Give the namespace of Kubeflow or of your profile with --namespace.")
    else:
        yield ok("service account", f"{name!r} is there")


def check_rights(cluster: Cluster, namespace: str) -> Iterator[Finding]:
    """What the person who asks may do, as far as the commands need it."""
    review = cluster.api(kubernetes_client.AuthorizationV1Api).create_self_subject_access_review
    lost = []
    for verb, group, resource, sub, loss in RIGHTS:
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
        body = {"spec": {"resourceAttributes": attributes | ({"subresource": sub} if sub else {})}}
        answer = asked(review, body, what="ask for your rights", again=True, tries=TRIES)
        if not answer.status.allowed:
            lost.append(f"you may not {verb} {resource}{f'/{sub}' if sub else ''}, so {loss}")
    if lost:
        yield warning("rights", "; ".join(lost), f"Ask for a role in {namespace!r} that allows it.")
    else:
        yield ok("rights", f"you may do all that the commands need in {namespace!r}")


def check_quotas(cluster: Cluster, namespace: str, needs: Needs) -> Iterator[Finding]:
    """Whether the namespace's quotas have room for one training."""
    quotas = asked(cluster.core().list_namespaced_resource_quota, namespace, what="list the quotas", tries=TRIES).items
    wanted = {"pods": Decimal(1), "count/pods": Decimal(1), "cpu": needs.cpu, "memory": needs.memory}
    for kind in ("requests", "limits"):
        wanted |= {f"{kind}.cpu": needs.cpu, f"{kind}.memory": needs.memory}
        wanted[f"{kind}.{needs.accelerator}"] = Decimal(needs.gpus)
    short = list(_short(quotas, wanted))
    yield from short or [ok("quotas", f"{len(quotas)} with room for a training" if quotas else "none")]
    ranges = asked(cluster.core().list_namespaced_limit_range, namespace, what="list the limit ranges", tries=TRIES)
    yield from _limited(
        ranges.items, {"cpu": needs.cpu, "memory": needs.memory, needs.accelerator: Decimal(needs.gpus)}
    )


def _limited(ranges: Sequence[Any], wanted: Mapping[str, Decimal]) -> Iterator[Finding]:
    """What one container may have at most, where that is less than the training asks for."""
    for one in ranges:
        for limit in one.spec.limits or []:
            for resource, largest in (limit.max or {}).items() if limit.type in {"Container", "Pod"} else ():
                most, need = parse_quantity(largest), wanted.get(resource, Decimal(0))
                if most < need:
                    said = f"{one.metadata.name!r} lets a {limit.type.lower()} have {shown(most, resource)} {resource}"
                    text = f"{said}, a training takes {shown(need, resource)}"
                    yield problem("limits", text, "Raise the LimitRange, or lower train_cpu, train_memory or gpus.")


def _short(quotas: Sequence[Any], wanted: Mapping[str, Decimal]) -> Iterator[Finding]:
    for quota in filter(_counts_runs, quotas):
        used = quota.status.used or {}
        for resource, hard in (quota.status.hard or quota.spec.hard or {}).items():
            most, taken, need = parse_quantity(hard), parse_quantity(used.get(resource, "0")), wanted.get(resource)
            if not need or most - taken >= need:
                continue
            left = f"{shown(most - taken, resource)} of {shown(most, resource)} {resource}"
            text = f"{quota.metadata.name!r} has {left} left, a training takes {shown(need, resource)}"
            if most < need:
                yield problem("quotas", text, "Raise the quota, or lower train_cpu, train_memory or gpus.")
            else:
                yield warning("quotas", text, "Wait for other runs, or raise the quota.")


def _counts_runs(quota: Any) -> bool:  # noqa: ANN401 - kubernetes ships no types
    """Whether a quota counts pods like ours: they have a deadline, ask for something, and name no priority class."""
    return not _OTHER_PODS.intersection(quota.spec.scopes or []) and quota.spec.scope_selector is None


def check_storage(cluster: Cluster) -> Iterator[Finding]:
    """The storage class that volumes get when they name none."""
    listing = cluster.api(kubernetes_client.StorageV1Api).list_storage_class
    classes = asked(listing, what="list the storage classes", tries=TRIES).items
    default = [one for one in classes if (one.metadata.annotations or {}).get(_DEFAULT_CLASS) == "true"]
    if default:
        yield ok("storage class", f"{default[0].metadata.name!r} is the default")
    else:
        names = ", ".join(repr(one.metadata.name) for one in classes) or "there are none"
        fix = f"kubectl annotate storageclass NAME {_DEFAULT_CLASS}=true, or name one in the store's volume claim."
        yield warning("storage class", f"none is the default ({names}): a MinIO of our manifests would not start", fix)
