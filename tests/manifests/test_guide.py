import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "manifests/README.md", "manifests/SCALE.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    modules = set(re.findall(r"python -m (pipelines\.\w+)", text))
    assert all(find_spec(name) for name in modules)
    scripts = set(re.findall(r"(?<![\w/])scripts/[\w./-]*\w", text))
    assert {name for name in scripts if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_file(page: str) -> None:
    place = (ROOT / page).parent
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text())]
    assert [link for link in links if "://" not in link and not (place / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_object_that_a_page_names_is_installed(page: str) -> None:
    manifests = "\n".join(path.read_text() for path in (ROOT / "manifests").rglob("*.yaml"))
    ours = "(?:serving|minio|housekeeping|store|runs|gpus|settings|run|ca|minio-root|minio-setup|minio-tls)"
    named = set(re.findall(rf"(?<![\w/-])detection-{ours}(?![\w-])", (ROOT / page).read_text()))
    assert {name for name in named if name not in manifests} == set()


def test_the_first_run_takes_less_than_ten_commands_each_explained() -> None:
    section = (ROOT / "README.md").read_text().partition("## On a cluster")[2].partition("### From the UI")[0]
    block = section.partition("```console\n")[2].partition("```")[0]
    commands = [line for line in block.splitlines() if line.startswith("$ ")]
    assert 5 <= len(commands) < 10
    assert re.findall(r"^(\d+)\. ", section, re.MULTILINE) == [str(i + 1) for i in range(len(commands))]
