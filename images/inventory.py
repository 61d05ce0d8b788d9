"""Print what an image holds as JSON: its Python distributions and its Debian packages. It runs inside the image."""
# ruff: noqa: INP001, T201 - handed to the image's interpreter on standard input, no package

import importlib.metadata
import json
import re
import sys
from pathlib import Path

_STATUS = Path("/var/lib/dpkg")
_DEBIAN = Path("/usr/lib/python3/dist-packages")
_CLASSIFIER = "License :: OSI Approved :: "


def main() -> None:
    """Print the inventory."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', _read(Path("/etc/os-release")), re.MULTILINE))
    inventory = {"python": _distributions(), "debian": _packages(), "system": release}
    print(json.dumps(inventory, sort_keys=True))


def _distributions() -> list[dict[str, str]]:
    found = {}
    # The base's own interpreter has some, too, which a virtual environment does not see.
    base = Path(sys.base_prefix, "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
    for each in importlib.metadata.distributions(path=[str(_DEBIAN), str(base), *sys.path]):
        said = each.metadata
        classified = [
            line.removeprefix(_CLASSIFIER) for line in said.get_all("Classifier") or [] if _CLASSIFIER in line
        ]
        short = said["License"] if len(said["License"] or "") < 100 else None  # noqa: PLR2004 - else it is the text
        licence = said["License-Expression"] or short or " AND ".join(classified)
        found[said["Name"], each.version] = {"name": said["Name"], "version": each.version, "licence": licence or ""}
    return [found[name] for name in sorted(found)]


def _packages() -> list[dict[str, str]]:
    files = [_STATUS / "status", *sorted((_STATUS / "status.d").glob("*"))]
    blocks = [block for file in files for block in _read(file).split("\n\n")]
    fields = [
        dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", block, re.MULTILINE)) for block in blocks
    ]
    installed = [
        each for each in fields if each.get("Package") and " installed" in f" {each.get('Status', 'installed')}"
    ]
    return sorted(
        ({key.lower(): value for key, value in each.items() if key != "Status"} for each in installed), key=str
    )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


main()
