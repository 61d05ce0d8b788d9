"""The champion out of the store into service, by the very commands of the Deployment's manifest."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from image_pods import container, run_in
from proved import Proved, Tell
from served_image import Serving, answers

from components.shared.archive import load_archive_manifest

MANIFEST = Path(__file__).resolve().parents[2] / "manifests" / "components" / "serving" / "deployment-serving.yaml"
_TAIL = 600


@dataclass(frozen=True)
class Champion:
    """Where the champion is: its archive as it was packed, the store's address and how to reach it."""

    archive: Path
    store: str
    environment: Mapping[str, str]


def prove_champion(champion: Champion, images: Mapping[str, str], work: Path, tell: Tell) -> bool:
    """Do what the init container and the container of the Deployment do; whether the champion answered."""
    manifest = load_archive_manifest(champion.archive)
    pod = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["spec"]["template"]["spec"]
    (init,), (main,) = pod["initContainers"], pod["containers"]
    for name in ("model", "init-tmp", "main-tmp"):
        (work / name).mkdir()
        (work / name).chmod(0o1777)
    settings = {"MODEL": manifest.name, "STORE": champion.store, **champion.environment}
    mounts = {work / "model": "/model", work / "init-tmp": "/tmp"}  # noqa: S108 - the pod's own
    began = time.monotonic()
    with container(images["steps-python"]) as name:
        done = run_in(name, tuple(init["command"]), {**settings, **_variables(init)}, mounts)
    fetched = not done.returncode and (work / "model" / "bento" / "src" / "manifest.json").is_file()
    said = "verified" if fetched else " ".join((done.stdout + done.stderr).split())[-_TAIL:]
    tell(Proved("fetch champion", "steps-python", time.monotonic() - began, said, good=fetched))
    if not fetched:
        return False
    (place,) = (each for each in main["volumeMounts"] if each["name"] == "model")
    served = {work / "model" / place["subPath"]: f"{place['mountPath']}:ro", work / "main-tmp": "/tmp"}  # noqa: S108
    return answers(Serving(images["serving"], tuple(main["command"]), _variables(main), served), manifest.tag, tell)


def _variables(container: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", ())}
