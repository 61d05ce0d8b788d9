"""The soak, short: the service as it really runs keeps its promises under good and hostile requests."""

import importlib
import runpy
from pathlib import Path

import pytest

from components.model_pack.pack import pack
from components.shared.archive import open_archive

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20.0


@pytest.mark.slow
@pytest.mark.xdist_group("service")
def test_twenty_seconds_of_good_and_hostile_requests_leave_the_service_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bench", "show"):
        monkeypatch.syspath_prepend(ROOT / "scripts" / name)
    soak = importlib.import_module("soak")
    tiny = runpy.run_path(str(ROOT / "tests" / "components" / "model_pack" / "tiny_model.py"))
    pack(tiny["make_tiny_model"](tmp_path / "model"), tmp_path / "archive", name="shapes")
    opened = open_archive(tmp_path / "archive", tmp_path / "work")
    images = [tiny["encoded_image"](seed, 320, 240) for seed in range(6)]
    with importlib.import_module("serving_server").serving(opened.bento, tmp_path, {}) as running:
        tally = soak.soak(running, images, SECONDS, clients=4)
    soak.show(tally)
    soak.judge(tally, overloaded=False)
    assert len(tally.statuses) > 15
