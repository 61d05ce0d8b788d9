from pathlib import Path

import pytest
from commands import DATA, submit

pytestmark = pytest.mark.e2e
SHORT = ("epochs=2", "imgsz=160", "batch=8", "load_seconds=0", "proof_images=2", "min_map50=0")


@pytest.mark.parametrize("name", ["raccoon_voc", "coco_tiny"])
def test_all_steps_end_on_real_images(tmp_path: Path, name: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"needs the data set {DATA / name}")
    finished = submit("--data", DATA / name, "--runs", tmp_path / "runs", settings=SHORT)
    assert finished.code == 0, finished.err
    assert finished.summary["state"] == "succeeded"
    assert all(step["state"] == "succeeded" for step in finished.summary["steps"])
