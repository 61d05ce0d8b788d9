"""A Label Studio project, fetched through its API: the export, the labelling configuration and the images it keeps.

The API: https://labelstud.io/guide/api.html and https://docs.humansignal.com/guide/access_tokens.
"""

import logging
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from components.data_load.download import download
from components.data_load.speed import Speed
from components.data_load.web import Web
from components.shared.documents import parse_json
from components.shared.errors import ConfigError, FormatError, NotFoundError, SourceError
from components.shared.formats.labelstudio_images import configuration, references
from components.shared.formats.names import normal, why_unsafe
from components.shared.formats.tree import scan
from components.shared.progress import Notify, silent
from components.shared.source_addresses import redacted

API_KEY = "LABEL_STUDIO_API_KEY"
BASE = "LABEL_STUDIO_URL"
PARALLEL = 8
MAX_IMAGE = 1 << 30
_JWT_DOTS = 2
_ACCESS_SECONDS = 200  # an access token lives for some five minutes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Project:
    """Where a project is: the server's address without a slash at the end, and the project's number."""

    base: str
    number: int

    @classmethod
    def of(cls, source: str) -> "Project":
        """The project of ``labelstudio://host[:port][/folder]/<number>``; without a host ``$LABEL_STUDIO_URL`` is it.

        Raises:
            ConfigError: neither names a server.
        """
        parts = urlsplit(source)
        folder, _, number = parts.path.rstrip("/").rpartition("/")
        base = os.environ.get(BASE, "").rstrip("/")
        if parts.netloc:
            scheme = "http" if parts.scheme == "labelstudio+http" else "https"
            base = f"{scheme}://{parts.netloc}{folder}"
        if not base.startswith(("https://", "http://")):
            raise ConfigError(f"{source!r} names no server and {BASE} is not set: write 'labelstudio://host/{number}'.")
        return cls(base, int(number))


class _Session:
    """Speaks for one user: a legacy token as it is, a personal access token (a JWT) as short-lived access tokens."""

    def __init__(self, web: Web, base: str, token: str) -> None:
        self._web = web
        self.base = base
        self._token = token
        self._personal = token.count(".") == _JWT_DOTS
        self._lock = threading.Lock()
        self._access = ""
        self._since = float("-inf")

    def headers(self, address: str) -> dict[str, str]:
        """What a request to ``address`` needs: nothing when it is another server's, which must not see the token."""
        if not address.startswith(f"{_origin(self.base)}/"):
            return {}
        if not self._personal:
            return {"Authorization": f"Token {self._token}"}
        with self._lock:
            if time.monotonic() - self._since > _ACCESS_SECONDS:
                self._access, self._since = self._refreshed(), time.monotonic()
            return {"Authorization": f"Bearer {self._access}"}

    def _refreshed(self) -> str:
        answer = parse_json(self._web.post_json(f"{self.base}/api/token/refresh", {"refresh": self._token}), "token")
        access = answer.get("access") if isinstance(answer, dict) else None
        if not isinstance(access, str) or not access:
            raise SourceError(f"{self.base!r} gives no access token for {API_KEY}: make a new one in its settings.")
        return access


def fetch_project(source: str, folder: Path, web: Web, *, max_bytes: int, notify: Notify = silent) -> None:
    """Bring a project's export and the images that its server keeps into ``folder`` (new).

    Images at ``s3://`` and ``https://`` addresses elsewhere stay where they are: whoever reads the export finds the
    addresses. An image that the server does not have, or whose name is unsafe, is missing for that reader.

    Raises:
        ConfigError: the token is missing.
        SourceError: the server cannot be reached, does not accept the token, or has no such project.
    """
    project = Project.of(source)
    token = os.environ.get(API_KEY, "").strip()
    if not token:
        raise ConfigError(f"{redacted(source)!r} needs a token: set {API_KEY} in the environment.")
    session = _Session(web, project.base, token)
    folder.mkdir(parents=True)
    export = folder / "export.json"
    place = f"{project.base}/api/projects/{project.number}"
    try:
        _save_configuration(web, place, session.headers(place), folder)
        address = f"{place}/export?exportType=JSON"
        download(web, address, export, max_bytes=max_bytes, headers=session.headers(address), notify=notify)
    except NotFoundError as error:
        raise SourceError(f"{project.base!r} has no project {project.number}: check the number.") from error
    wanted = _kept_by_server(folder, export, project)
    _fetch_images(wanted, folder, web, session, max_bytes - export.stat().st_size, notify)


def _save_configuration(web: Web, place: str, headers: dict[str, str], folder: Path) -> None:
    """The labelling configuration tells the classes in order and which field is the image."""
    found = parse_json(web.read(place, max_bytes=64 << 20, headers=headers), "the project")
    text = found.get("label_config") if isinstance(found, dict) else None
    if isinstance(text, str) and text.strip():
        (folder / "label_config.xml").write_text(text, encoding="utf-8")


def _kept_by_server(folder: Path, export: Path, project: Project) -> dict[str, str]:
    """Path below the folder -> address, of the images that only the server itself has."""
    tasks = parse_json(export.read_bytes(), "the export")
    if not isinstance(tasks, list):
        raise FormatError(f"What {project.base!r} exports is no list of tasks: check that it is a Label Studio.")
    settings = configuration(scan(folder))
    wanted: dict[str, str] = {}
    for task in tasks:
        data = task.get("data") if isinstance(task, dict) else None
        for text in references(data, settings).values() if isinstance(data, Mapping) else ():
            address = _address(text, project.base)
            if address and not why_unsafe(_path(text)):
                wanted.setdefault(_path(text), address)
    return wanted


def _address(reference: str, base: str) -> str | None:
    """Where to ask for an image; ``None`` for one at an address that whoever reads the export can fetch."""
    if reference.startswith("/") and not reference.startswith("//"):
        folder = urlsplit(base).path
        return _origin(base) + (reference if reference.startswith(f"{folder}/") else folder + reference)
    return reference if reference.startswith((f"{base}/", "http://")) else None


def _origin(base: str) -> str:
    parts = urlsplit(base)
    return f"{parts.scheme}://{parts.netloc}"


def _path(reference: str) -> str:
    parts = urlsplit(reference)
    local = parse_qs(parts.query).get("d", [""])[0] if parts.path.endswith("/local-files/") else ""
    return normal((local or unquote(parts.path)).replace("\\", "/")).strip("/")


def _fetch_images(
    wanted: Mapping[str, str], folder: Path, web: Web, session: _Session, left: int, notify: Notify
) -> None:
    speed, done = Speed("images", notify), 0

    def fetch(path: str, address: str) -> int:
        try:
            data = web.read(address, max_bytes=min(MAX_IMAGE, left), headers=session.headers(address))
        except NotFoundError as error:
            logger.warning("%s", error)
            return 0
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return len(data)

    with ThreadPoolExecutor(PARALLEL) as pool:
        try:
            for count, size in enumerate(pool.map(fetch, wanted.keys(), wanted.values()), start=1):
                done += size
                _check_total(done, left, session.base)
                speed.tell(done, None, f" {count} of {len(wanted)}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check_total(done: int, left: int, base: str) -> None:
    if done > left:
        raise SourceError(f"The images of {base!r} are larger than max_download_gb allows: raise it if that is right.")
