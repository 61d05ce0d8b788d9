"""What every manifest must keep; each policy gives a sentence for each breach it finds, none when all is well."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
Documents = Sequence[Document]

ACCOUNTS_OF_RUNS = frozenset({"pipeline-run"})  # named when a run is submitted, so by no manifest
TOKENS_NEEDED = frozenset({"pipeline-run"})
MADE_BY_HAND = frozenset({"detection-minio-tls"})  # a certificate is in no git
KNOWN_PASSWORDS = ("minio123", "minioadmin", "password", "changeme", "replace-me", "12345678")
LEAST_PASSWORD = 16

_DIGEST = re.compile(r"[^\s@:]+(:\d+)?[^\s@:]*@sha256:[0-9a-f]{64}")
_RUN_POD = {"pipelines.kubeflow.org/v2_component": "true", "app.kubernetes.io/part-of": "detection-pipeline"}


@dataclass(frozen=True)
class Pod:
    """A pod template and whose it is."""

    owner: str
    labels: Mapping[str, str]
    spec: Document

    @property
    def containers(self) -> list[Document]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def pods(documents: Documents) -> Iterator[Pod]:
    for one in documents:
        spec = one.get("spec") or {}
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if isinstance(template, dict) and "containers" in template.get("spec", {}):
            yield Pod(name_of(one), template["metadata"].get("labels", {}), template["spec"])


def name_of(document: Document) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


def of_kind(documents: Documents, kind: str) -> list[Document]:
    return [one for one in documents if one["kind"] == kind]


def names(documents: Documents, kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in of_kind(documents, kind)}


def images_by_digest(documents: Documents) -> list[str]:
    return [
        f"{pod.owner}: {container['image']!r} is no NAME@sha256:DIGEST"
        for pod in pods(documents)
        for container in pod.containers
        if not _DIGEST.fullmatch(container["image"])
    ]


def hardened(documents: Documents) -> list[str]:
    """Pod Security's ``restricted``, and beyond it a read-only root, limits and an own user."""
    found = []
    for pod in pods(documents):
        shared = pod.spec.get("securityContext", {})
        demands = {
            "runAsNonRoot": shared.get("runAsNonRoot") is True,
            "a user above 10000": shared.get("runAsUser", 0) > 10_000,
            "seccomp RuntimeDefault": shared.get("seccompProfile") == {"type": "RuntimeDefault"},
            "no host namespaces": not any(pod.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
            "no host paths": not any("hostPath" in volume for volume in pod.spec.get("volumes", ())),
            "a priority": "priorityClassName" in pod.spec,
        }
        found += [f"{pod.owner}: without {demand}" for demand, kept in demands.items() if not kept]
        for container in pod.containers:
            found += [f"{pod.owner}/{container['name']}: without {demand}" for demand in _missing(container)]
    return found


def _missing(container: Document) -> list[str]:
    own, resources = container.get("securityContext", {}), container.get("resources", {})
    demands = {
        "allowPrivilegeEscalation: false": own.get("allowPrivilegeEscalation") is False,
        "a read-only root": own.get("readOnlyRootFilesystem") is True,
        "dropping ALL capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "its pod's user": not {"privileged", "runAsUser", "runAsNonRoot"} & set(own),
    }
    for kind in ("requests", "limits"):
        given = set(resources.get(kind, ()))
        demands[f"all {kind}"] = {"cpu", "memory", "ephemeral-storage"} <= given
    return [demand for demand, kept in demands.items() if not kept]


def probed(documents: Documents) -> list[str]:
    """What serves has all three probes, at a port it opens."""
    found = []
    for pod in pods([one for one in documents if one["kind"] in {"Deployment", "StatefulSet"}]):
        for container in pod.spec["containers"]:
            ports = {port["name"] for port in container.get("ports", ())}
            found += [
                f"{pod.owner}/{container['name']}: without a {probe} at a port it opens"
                for probe in ("startupProbe", "readinessProbe", "livenessProbe")
                if container.get(probe, {}).get("httpGet", {}).get("port") not in ports
            ]
    return found


def tokens(documents: Documents) -> list[str]:
    """No account and no pod has a token it does not need."""
    found = [
        f"{name_of(one)}: hands out its token"
        for one in of_kind(documents, "ServiceAccount")
        if one.get("automountServiceAccountToken") is not (one["metadata"]["name"] in TOKENS_NEEDED)
    ]
    return found + [
        f"{pod.owner}: mounts a token"
        for pod in pods(documents)
        if pod.spec.get("automountServiceAccountToken") is not False
    ]


def accounts(documents: Documents) -> list[str]:
    """Each account is there and used; a role is bound, and to accounts that exist."""
    there, used = names(documents, "ServiceAccount"), {pod.spec.get("serviceAccountName") for pod in pods(documents)}
    found = [f"the account {name!r} of a pod is not there" for name in sorted(map(str, used - there))]
    found += [f"nothing uses the account {name!r}" for name in sorted(there - used - ACCOUNTS_OF_RUNS)]
    bound = set()
    for binding in of_kind(documents, "RoleBinding"):
        bound.add(binding["roleRef"]["name"])
        found += [
            f"{name_of(binding)}: binds {subject['name']!r}, which is not there"
            for subject in binding["subjects"]
            if subject["name"] not in there
        ]
    return found + [f"the role {name!r} is bound to nobody" for name in sorted(names(documents, "Role") - bound)]


def least_rights(documents: Documents) -> list[str]:
    """No wildcard, no cluster role, and secrets only by their name."""
    found = [
        f"{name_of(one)}: rights in the whole cluster" for one in documents if one["kind"].startswith("ClusterRole")
    ]
    for role in of_kind(documents, "Role"):
        for rule in role["rules"]:
            if "*" in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]:
                found.append(f"{name_of(role)}: a wildcard in {rule}")
            if "secrets" in rule["resources"] and not rule.get("resourceNames"):
                found.append(f"{name_of(role)}: all secrets")
    return found


def matches(selector: Document, labels: Mapping[str, str]) -> bool:
    """Whether a label selector, as Kubernetes has it, chooses what has these labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for one in selector.get("matchExpressions") or ():
        value, values = labels.get(one["key"]), one.get("values", ())
        kept = {"In": value in values, "NotIn": value not in values, "Exists": value is not None}
        if not kept[one["operator"]]:
            return False
    return True


def selectors(documents: Documents) -> list[str]:
    """What chooses pods by labels chooses some; a workload chooses its own."""
    labels = [pod.labels for pod in pods(documents)] + [_RUN_POD]
    found = []
    for one in documents:
        kind, spec = one["kind"], one.get("spec") or {}
        if kind == "Service":
            chosen = {"matchLabels": spec["selector"]}
        elif kind == "NetworkPolicy":
            chosen = spec["podSelector"]
        elif kind == "PodDisruptionBudget":
            chosen = spec["selector"]
        elif kind in {"Deployment", "StatefulSet"}:
            if not matches(spec["selector"], spec["template"]["metadata"]["labels"]):
                found.append(f"{name_of(one)}: does not choose its own pods")
            continue
        else:
            continue
        if not any(matches(chosen, each) for each in labels):
            found.append(f"{name_of(one)}: chooses no pod")
    services = [one["metadata"]["labels"] for one in of_kind(documents, "Service")]
    return found + [
        f"{name_of(one)}: chooses no service"
        for one in of_kind(documents, "ServiceMonitor")
        if not any(matches(one["spec"]["selector"], each) for each in services)
    ]


def network(documents: Documents) -> list[str]:
    """Every pod is denied by default both ways; every port it opens is let in, and leads to nothing else."""
    policies = [one["spec"] for one in of_kind(documents, "NetworkPolicy")]
    found = []
    for pod in [*pods(documents), Pod("a pod of a run", _RUN_POD, {"containers": []})]:
        own = [spec for spec in policies if matches(spec["podSelector"], pod.labels)]
        found += [
            f"{pod.owner}: {direction} is not denied by default"
            for direction in ("Ingress", "Egress")
            if not any(direction in spec["policyTypes"] and direction.lower() not in spec for spec in own)
        ]
        let_in = {port["port"] for spec in own for rule in spec.get("ingress", ()) for port in rule.get("ports", ())}
        opened = {port["containerPort"] for each in pod.containers for port in each.get("ports", ())}
        found += [f"{pod.owner}: port {port} is in no NetworkPolicy" for port in sorted(opened - let_in)]
        found += [f"{pod.owner}: port {port} is let in, but nothing listens" for port in sorted(let_in - opened)]
    for one in of_kind(documents, "NetworkPolicy"):
        for rule in [*one["spec"].get("ingress", ()), *one["spec"].get("egress", ())]:
            if not rule.get("ports") or not (rule.get("from") or rule.get("to")):
                found.append(f"{name_of(one)}: a rule for every port or everybody")
    return found


def egress_reaches(documents: Documents) -> list[str]:
    """A pod that may ask one of ours is let in there."""
    everyone = [*pods(documents), Pod("a pod of a run", _RUN_POD, {"containers": []})]
    return [
        f"{asker.owner} may ask {target.owner}, which does not let it in"
        for policy, chosen, ports in _asked(documents)
        for asker in everyone
        if matches(policy["spec"]["podSelector"], asker.labels)
        for target in everyone
        if matches(chosen, target.labels) and not _lets_in(documents, target, asker, ports)
    ]


def _asked(documents: Documents) -> Iterator[tuple[Document, Document, set[int]]]:
    """Each policy that lets pods of this namespace be asked: it, which ones, and at which ports."""
    for one in of_kind(documents, "NetworkPolicy"):
        for rule in one["spec"].get("egress", ()):
            for peer in rule["to"]:
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    yield one, peer["podSelector"], {port["port"] for port in rule["ports"]}


def _lets_in(documents: Documents, target: Pod, asker: Pod, ports: set[int]) -> bool:
    for one in of_kind(documents, "NetworkPolicy"):
        if matches(one["spec"]["podSelector"], target.labels):
            for rule in one["spec"].get("ingress", ()):
                near = [peer["podSelector"] for peer in rule["from"] if "namespaceSelector" not in peer]
                if ports <= {port["port"] for port in rule["ports"]} and any(matches(p, asker.labels) for p in near):
                    return True
    return False


def targets(documents: Documents) -> list[str]:
    """What names another object names one that is there: autoscalers, stateful sets, queues; and priorities."""
    found = []
    for one in of_kind(documents, "HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        if target["name"] not in names(documents, target["kind"]):
            found.append(f"{name_of(one)}: scales {target['name']!r}, which is not there")
        if not 0 < one["spec"]["minReplicas"] <= one["spec"]["maxReplicas"]:
            found.append(f"{name_of(one)}: from {one['spec']['minReplicas']} to {one['spec']['maxReplicas']} replicas")
    deployments = [one for one in of_kind(documents, "Deployment") if "replicas" in one["spec"]]
    found += [f"{name_of(one)}: its replicas are its autoscaler's" for one in deployments]
    for kind, field, meant in (
        ("StatefulSet", "serviceName", "Service"),
        ("LocalQueue", "clusterQueue", "ClusterQueue"),
    ):
        for one in of_kind(documents, kind):
            if one["spec"][field] not in names(documents, meant):
                found.append(f"{name_of(one)}: its {meant} is not there")
    return found + _used_and_there(documents)


def _used_and_there(documents: Documents) -> list[str]:
    groups = [group for one in of_kind(documents, "ClusterQueue") for group in one["spec"]["resourceGroups"]]
    pairs = {
        "ResourceFlavor": {flavor["name"] for group in groups for flavor in group["flavors"]},
        "PriorityClass": {pod.spec.get("priorityClassName") for pod in pods(documents)},
    }
    odd = {kind: names(documents, kind) ^ used for kind, used in pairs.items()}
    return [f"{kind}: {sorted(map(str, some))} are not both there and used" for kind, some in odd.items() if some]


def ports_lead_on(documents: Documents) -> list[str]:
    """A service's target is a named port of its pods; a monitor's is a named port of its service."""
    found = []
    for one in of_kind(documents, "Service"):
        chosen = [pod for pod in pods(documents) if matches({"matchLabels": one["spec"]["selector"]}, pod.labels)]
        opened = {port["name"] for pod in chosen for each in pod.containers for port in each.get("ports", ())}
        found += [f"{name_of(one)}: {p['targetPort']!r}" for p in one["spec"]["ports"] if p["targetPort"] not in opened]
    for one in of_kind(documents, "ServiceMonitor"):
        for service in of_kind(documents, "Service"):
            if matches(one["spec"]["selector"], service["metadata"]["labels"]):
                known = {port["name"] for port in service["spec"]["ports"]}
                found += [f"{name_of(one)}: {e['port']!r}" for e in one["spec"]["endpoints"] if e["port"] not in known]
    return [f"{said} leads nowhere" for said in found]


def references(documents: Documents) -> list[str]:
    """Each ConfigMap, Secret and volume that a pod names is there, unless it is optional; each volume is used."""
    known = {"ConfigMap": names(documents, "ConfigMap"), "Secret": names(documents, "Secret")}
    found = []
    for pod in pods(documents):
        found += [f"{pod.owner}: {kind} {name!r} is not there" for kind, name in _named(pod) if name not in known[kind]]
        mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", ())}
        volumes = {volume["name"] for volume in pod.spec.get("volumes", ())}
        found += [f"{pod.owner}: the volume {name!r} is mounted nowhere" for name in sorted(volumes - mounted)]
    return found


def _named(pod: Pod) -> Iterator[tuple[str, str]]:
    """Kind and name of what a pod cannot start without."""
    sources = [source for container in pod.containers for source in container.get("envFrom", ())]
    sources += [one.get("valueFrom", {}) for container in pod.containers for one in container.get("env", ())]
    for source in sources:
        for key, one in source.items():
            if isinstance(one, dict) and not one.get("optional") and key.startswith(("configMap", "secret")):
                yield ("ConfigMap" if key.startswith("configMap") else "Secret"), one["name"]
    for volume in pod.spec.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        secret = volume.get("secret", {"optional": True})
        if not secret.get("optional") and secret["secretName"] not in MADE_BY_HAND:
            yield "Secret", secret["secretName"]


def secrets_are_secret(documents: Documents) -> list[str]:
    """No password that everybody knows, none that is short, none that is a placeholder."""
    found = []
    for one in of_kind(documents, "Secret"):
        values = {key: base64.b64decode(value).decode() for key, value in (one.get("data") or {}).items()}
        values |= one.get("stringData") or {}
        for key, value in values.items():
            secret = any(word in key.lower() for word in ("password", "secret", "token"))
            if secret and (len(value) < LEAST_PASSWORD or any(known in value.lower() for known in KNOWN_PASSWORDS)):
                found.append(f"{name_of(one)}: {key} is short, or known to everybody")
    return found


def labelled(documents: Documents) -> list[str]:
    """Everything says that it is part of this project, so that it can be found and removed."""
    return [
        f"{name_of(one)}: without app.kubernetes.io/part-of"
        for one in documents
        if one["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "detection-pipeline"
    ]


ALL = (
    images_by_digest, hardened, probed, tokens, accounts, least_rights, selectors, network, egress_reaches, targets,
    ports_lead_on, references, secrets_are_secret, labelled,
)  # fmt: skip
