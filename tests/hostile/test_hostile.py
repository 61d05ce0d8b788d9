"""Hostile sources, each through the real load: refused in one sentence or recorded, within bounds, nothing touched."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hostile_archives import CASES as ARCHIVES
from hostile_case import HARMLESS, HONEST, Case, picture, tree
from hostile_documents import CASES as DOCUMENTS
from hostile_names import CASES as NAMES
from hostile_pictures import CASES as PICTURES

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hostile")]
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5.0
MEGABYTES = 256.0
GROUPS = {"archives": ARCHIVES, "documents": DOCUMENTS, "names": NAMES, "pictures": PICTURES}
_SECRET = picture(size=(64, 64))
SECRET = hashlib.sha256(_SECRET).hexdigest()
BY_NAME = {case.name: (group, case) for group, cases in GROUPS.items() for case in cases}


@dataclass(frozen=True)
class Ran:
    """What a group of sources came to: an outcome each, and what changed outside."""

    outcomes: dict[str, dict[str, Any]]
    changed: list[str]
    errors: str


def contents(folder: Path) -> dict[str, str]:
    """Every file, folder and link below a folder, and a digest of what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest() if plain else "other"
    return found


def run(cases: tuple[Case, ...], sandbox: Path) -> Ran:
    """Load all of a group in one child process, so that libraries are imported once."""
    for name in ("store", "out", "tmp", "outside", "sources"):
        (sandbox / name).mkdir()
    outside = sandbox / "outside"
    (outside / "secret.jpg").write_bytes(_SECRET)
    (outside / "secret.txt").write_text("the secret", encoding="ascii")
    honest = Case("honest", tree({}))
    wanted = []
    for number, case in enumerate((honest, *cases)):
        folder = sandbox / "sources" / f"{number:03}"
        folder.mkdir()
        source = str(case.make(folder, outside))
        wanted.append({"name": case.name, "source": source, "format": case.format, "dataset": f"set{number}"})
    before = contents(sandbox / "sources") | contents(outside)
    environment = os.environ | {"TMPDIR": str(sandbox / "tmp"), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(outside)}
    environment |= {"PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("hostile_child.py")), str(sandbox)],
        input=json.dumps(wanted), capture_output=True, text=True, cwd=outside, env=environment, check=False,
        timeout=SECONDS * (len(cases) + 10),
    )  # fmt: skip
    outcomes = {(found := json.loads(line))["name"]: found for line in done.stdout.splitlines()}
    after = contents(sandbox / "sources") | contents(outside)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    leftover = [str(path) for path in (sandbox / "tmp").iterdir()]
    return Ran(outcomes, changed + leftover, done.stderr[-3000:])


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    return {group: run(cases, tmp_path_factory.mktemp(group)) for group, cases in GROUPS.items()}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=case.known) if case.known else ())
        for name, (_, case) in BY_NAME.items()
    ],
)
def test_a_hostile_source_is_refused_or_recorded_within_bounds(ran: dict[str, Ran], name: str) -> None:
    group, case = BY_NAME[name]
    assert name in ran[group].outcomes, f"the process died: {ran[group].errors}"
    outcome = ran[group].outcomes[name]
    told = json.dumps(outcome, indent=1, ensure_ascii=False)[:3000]
    if outcome["error"]:
        assert outcome["exit_code"] in {1, 2}, f"no error of ours: {told}"
        assert case.error in {None, outcome["error"]}, told
        assert case.error or not case.rule, told
        assert "\n" not in outcome["message"], told
        assert case.says in outcome["message"], told
    else:
        assert case.error is None, told
        assert SECRET not in {digest for _, digest in outcome["images"]}, told
        rows = [f"{image} {detail}" for image, rule, _, detail in outcome["ledger"] if case.rule in {None, rule}]
        assert case.rule is HARMLESS or any(case.says in text for text in rows), told
    assert outcome["touched"] == [], told
    assert outcome["seconds"] < SECONDS, told
    assert outcome["megabytes"] < MEGABYTES, told


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_outside_is_touched_and_nothing_stays_behind(ran: dict[str, Ran], group: str) -> None:
    assert ran[group].changed == []


@pytest.mark.parametrize("group", GROUPS)
def test_the_honest_source_beside_them_loads_without_a_word(ran: dict[str, Ran], group: str) -> None:
    outcome = ran[group].outcomes["honest"]
    assert (outcome["error"], outcome["ledger"], outcome["problems"]) == (None, [], [])
    assert [name for name, _ in outcome["images"]] == [Path(name).name for name in HONEST if "images" in name]
