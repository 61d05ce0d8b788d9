"""The doctor's look at credentials and where artifacts go: the steps' secrets and KFP's own ConfigMap."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from components.shared.documents import parse_yaml
from components.shared.errors import ClusterError, ConfigError, InputError
from components.shared.store_s3_connection import endpoint_of
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.connection import Cluster
from pipelines.doctor.findings import Finding, ok, problem, warning
from pipelines.doctor.package import PackageNeeds
from pipelines.resources import STORE_SECRET

TRIES = 2
LAUNCHER = "kfp-launcher"
APPLY = "Install the manifests: kubectl apply -k manifests/overlays/<name>."
_NOT_FOUND = 404
_KNOWN_PASSWORDS = frozenset({"minio123", "minioadmin", "changeme", "password"})
_PAIR = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def check_secrets(cluster: Cluster, namespace: str, needs: PackageNeeds) -> Iterator[Finding]:
    """The secrets the steps take their credentials from, with the keys they read; no value is ever shown."""
    for name, keys in needs.secrets.items():
        secret = read(cluster.core().read_namespaced_secret, name, namespace, f"read the secret {name!r}")
        if secret is None:
            said = f"there is none of that name in {namespace!r}: no step would start"
            yield problem(f"secret {name}", said, APPLY)
            continue
        values = {key: _decoded(value) for key, value in (secret.data or {}).items()}
        yield _secret(name, keys, values)


def _secret(name: str, keys: tuple[str, ...], values: Mapping[str, str]) -> Finding:
    label, given = f"secret {name}", {key for key, value in values.items() if value.strip()}
    wanted = [*keys, *(_PAIR if name == STORE_SECRET and given.intersection(_PAIR) else ())]
    missing = [key for key in wanted if key not in given]
    if missing:
        said = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing or empty"
        literals = " ".join(f"--from-literal={key}=..." for key in missing)
        return problem(label, said, f"Make it with all its keys: kubectl create secret generic {name} {literals} ...")
    if _KNOWN_PASSWORDS & set(values.values()):
        return warning(label, "it holds a password that everybody knows", "Set another, in the store too.")
    if name == STORE_SECRET:
        try:
            endpoint_of(values)
        except ConfigError as error:
            return problem(label, str(error), f"kubectl edit secret {name}")
        if not given.intersection(_PAIR):
            said = "it has no keys of the store: the pods use the role of their service account or node"
            return warning(label, said, f"Add {' and '.join(_PAIR)}, unless there is such a role.")
    return ok(label, f"has {', '.join(wanted)}")


def check_launcher(cluster: Cluster, namespace: str) -> Iterator[Finding]:
    """The ConfigMap that tells KFP where artifacts go."""
    said = read(cluster.core().read_namespaced_config_map, LAUNCHER, namespace, f"read {LAUNCHER!r}")
    if said is None:
        text = "there is none: artifacts go to the store that came with KFP, by its default password"
        yield warning("kfp-launcher", text, APPLY)
        return
    data = said.data or {}
    root = data.get("defaultPipelineRoot", "")
    try:
        providers = parse_yaml(data.get("providers", "").encode(), LAUNCHER) or {}
    except InputError as error:
        yield problem("kfp-launcher", f"its providers are no YAML ({error})", APPLY)
        return
    yield from _launcher(cluster, namespace, root, providers if isinstance(providers, dict) else {})


def _launcher(cluster: Cluster, namespace: str, root: str, providers: Mapping[str, Any]) -> Iterator[Finding]:
    scheme = root.partition("://")[0]
    provider = providers.get(scheme) or {}
    default = provider.get("default") or {}
    if scheme not in {"minio", "s3", "gs"}:
        yield problem("kfp-launcher", f"its defaultPipelineRoot {root!r} is no minio://, s3:// or gs:// address", APPLY)
    elif any("maxRetries" in one for one in provider.get("Overrides") or []) and "maxRetries" not in default:
        fix = "Set maxRetries in the provider's default, too."
        yield problem("kfp-launcher", "an override sets maxRetries and the default does not: the launcher crashes", fix)
    elif scheme == "minio" and not default:
        fix = f"Add a provider 'minio' with your endpoint, or see that it is so. {APPLY}"
        yield warning("kfp-launcher", f"{root!r} has no provider: KFP takes seaweedfs.kubeflow:9000", fix)
    else:
        yield from _launcher_secret(cluster, namespace, root, default)


def _launcher_secret(cluster: Cluster, namespace: str, root: str, default: Mapping[str, Any]) -> Iterator[Finding]:
    reference = (default.get("credentials") or {}).get("secretRef") or {}
    name = reference.get("secretName", "")
    if not name:
        yield ok("kfp-launcher", f"artifacts go to {root!r}")
        return
    secret = read(cluster.core().read_namespaced_secret, name, namespace, f"read the secret {name!r}")
    keys = [reference.get(key, "") for key in ("accessKeyKey", "secretKeyKey")]
    if secret is None or any(key not in (secret.data or {}) for key in keys):
        said = f"it takes credentials from {', '.join(keys)} of the secret {name!r}, which is not there or lacks them"
        yield problem("kfp-launcher", said, APPLY)
    else:
        yield ok("kfp-launcher", f"artifacts go to {root!r} at {default.get('endpoint', 'its default')!r}")


def read(call: Any, name: str, namespace: str | None, what: str) -> Any | None:  # noqa: ANN401 - kubernetes
    """An object, or ``None`` when it is not there."""
    try:
        return asked(call, *(part for part in (name, namespace) if part is not None), what=what, tries=TRIES)
    except ClusterError as error:
        if error.status == _NOT_FOUND:
            return None
        raise


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value or "", validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
