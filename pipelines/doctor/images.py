"""The doctor's look at container images: whether they are named by digest, and whether their registries have them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httpx

from pipelines.doctor.findings import Finding, ok, problem, warning

SECONDS = 10.0
_DOCKER = ("docker.io", "registry-1.docker.io")
_ACCEPTED = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")


@dataclass(frozen=True)
class Reference:
    """An image's name in parts; ``digest`` and ``tag`` may be empty."""

    registry: str
    repository: str
    tag: str
    digest: str


def check_images(images: Iterable[str]) -> Iterator[Finding]:
    """One finding an image, however often it is named."""
    for image in dict.fromkeys(images):
        yield _image("image", image)


def parse_reference(image: str) -> Reference | None:
    """``registry/repository[:tag][@digest]`` as Docker reads it; ``None`` when it is no such name."""
    name, _, digest = image.partition("@")
    if digest and not _DIGEST.match(digest):
        return None
    first, slash, rest = name.partition("/")
    if not (slash and ("." in first or ":" in first or first == "localhost")):
        first, rest = _DOCKER[0], name if slash else f"library/{name}"
    repository, _, tag = rest.partition(":")
    if not re.fullmatch(r"[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*", repository):
        return None
    return Reference(first, repository, tag, digest)


def _image(label: str, image: str) -> Finding:
    reference = parse_reference(image)
    if reference is None:
        return problem(label, f"{image!r} is no name of an image", "Build the images with scripts/build-images.")
    if not reference.digest:
        return warning(
            label,
            f"{image!r} has no digest: the cluster may run other bytes than were tested",
            "Build and push with scripts/build-images, which names images by digest.",
        )
    try:
        with httpx.Client(timeout=SECONDS, follow_redirects=True) as client:
            answer = _asked(client, reference)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return warning(
            label,
            f"{reference.registry!r} cannot be reached from here ({type(error).__name__})",
            "See that the nodes reach it; nothing is wrong if this machine alone does not.",
        )
    return _judged(label, reference, answer)


def _judged(label: str, reference: Reference, answer: httpx.Response) -> Finding:
    where = f"{reference.repository}@{reference.digest[:19]}... at {reference.registry!r}"
    if answer.status_code in {401, 403}:
        return warning(
            label,
            f"{where} is not public (status {answer.status_code})",
            "See that the namespace's service account has a pull secret for this registry.",
        )
    if answer.status_code == httpx.codes.NOT_FOUND:
        return problem(label, f"{where} is not there", "Push it again with scripts/build-images --push.")
    if not answer.is_success:
        return warning(label, f"{where}: the registry answered with status {answer.status_code}", "Ask it later again.")
    sent = answer.headers.get("Docker-Content-Digest", reference.digest)
    if sent != reference.digest:
        return problem(label, f"{where}: the registry has {sent[:19]}... under it", "Do not trust this registry.")
    return ok(label, f"{where} can be pulled")


def _asked(client: httpx.Client, reference: Reference) -> httpx.Response:
    """HEAD of the manifest; a registry that wants a token for it is asked for an anonymous one."""
    host = _DOCKER[1] if reference.registry == _DOCKER[0] else reference.registry
    local = host.partition(":")[0] in {"localhost", "127.0.0.1"}
    url = f"{'http' if local else 'https'}://{host}/v2/{reference.repository}/manifests/{reference.digest}"
    headers = {"Accept": _ACCEPTED}
    answer = client.head(url, headers=headers)
    challenge = answer.headers.get("WWW-Authenticate", "")
    if answer.status_code != httpx.codes.UNAUTHORIZED or not challenge.lower().startswith("bearer "):
        return answer
    asked = dict(_CHALLENGE.findall(challenge))
    realm = httpx.URL(asked.pop("realm", ""))
    if realm.scheme != "https" and not local:
        return answer
    scope = {"service": asked.get("service", ""), "scope": f"repository:{reference.repository}:pull"}
    granted = client.get(realm, params=scope)
    said = granted.json() if granted.is_success else {}
    token = str(said.get("token") or said.get("access_token") or "") if isinstance(said, dict) else ""
    return client.head(url, headers={**headers, "Authorization": f"Bearer {token}"}) if token else answer
