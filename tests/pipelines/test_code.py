import importlib.metadata
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines import code
from pipelines.training import STEPS

Edit = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    code.step_digest.cache_clear()
    yield
    code.step_digest.cache_clear()


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """A small tree of steps in place of the real one; writing one of its files makes the digests forget."""
    root = tmp_path / "components"
    monkeypatch.setattr(code, "components", SimpleNamespace(__file__=str(root / "__init__.py")))

    def write(name: str, text: str) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        code.step_digest.cache_clear()

    for name in ("__init__.py", "artifacts.py", "a/component.py", "a/deep/work.py", "b/component.py", "shared/x.py"):
        write(name, name)
    return write


def test_every_step_of_the_pipeline_has_a_digest_of_its_own() -> None:
    digests = {code.step_digest(step) for step in STEPS}
    assert len(digests) == len(STEPS)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests)


@pytest.mark.parametrize("name", ["a/component.py", "a/deep/work.py", "a/new.py", "shared/x.py", "artifacts.py"])
def test_a_step_has_another_digest_when_code_it_rests_on_changes(edit: Edit, name: str) -> None:
    before = code.step_digest("a")
    edit(name, "changed")
    assert code.step_digest("a") != before


def test_a_template_counts_as_code(edit: Edit) -> None:
    edit("shared/report/page.html.j2", "one")
    before = code.step_digest("a")
    edit("shared/report/page.html.j2", "two")
    assert code.step_digest("a") != before


@pytest.mark.parametrize("name", ["b/component.py", "a/README.md", "a/metadata.yaml", "a/__pycache__/work.pyc"])
def test_what_a_step_does_not_rest_on_leaves_its_digest(edit: Edit, name: str) -> None:
    before = code.step_digest("a")
    edit(name, "changed")
    assert code.step_digest("a") == before


def test_moving_code_to_another_file_changes_the_digest(edit: Edit) -> None:
    before = code.step_digest("a")
    edit("a/component.py", "a/deep/work.py")
    edit("a/deep/work.py", "a/component.py")
    assert code.step_digest("a") != before


def test_another_release_of_a_library_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code.step_digest("model_train")
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1" if name == "ultralytics" else real(name))
    code.step_digest.cache_clear()
    assert code.step_digest("model_train") != before
