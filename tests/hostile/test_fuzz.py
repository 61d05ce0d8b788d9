"""Whatever a valid file becomes when its bytes are changed, a reader gives rows, ledger entries or one sentence."""

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hostile_case import coco, voc
from hypothesis import given
from hypothesis import strategies as st

from components.shared.errors import InputError
from components.shared.formats.registry import FORMATS, read_source
from components.shared.ledger import to_table

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fuzz.py"
_YMIR = voc("<cks><a>b</a></cks>").replace(
    "</bndbox>", "</bndbox><box_quality>1</box_quality><confidence>.5</confidence>"
)
_METADATA = {
    "type": "groundtruth/object-detection",
    "class-map": {"0": "cat"},
    "creation-date": "2020-01-01T00:00:00",
    "objects": [{"confidence": 0.5}],
}
_LABEL = {
    "annotations": [{"class_id": 0, "left": 1, "top": 1, "width": 9, "height": 9}],
    "image_size": [{"width": 32, "height": 24, "depth": 3}],
}
_LINE = json.dumps({"source-ref": "s3://b/a.jpg", "x": _LABEL, "x-metadata": _METADATA})
_RESULT = {
    "type": "rectanglelabels",
    "original_width": 32,
    "original_height": 24,
    "value": {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["cat"]},
}
_TASKS = [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": [_RESULT]}], "predictions": []}]
VALID: dict[str, dict[str, str]] = {
    "coco": {"a.json": coco("a.jpg")},
    "yolo": {"labels/a.txt": "0 .5 .5 .25 .25\n0 .1 .1 .2 .2 .3 .3\n", "data.yaml": "names: {0: cat}\ntrain: images\n"},
    "voc": {"Annotations/a.xml": voc("<size><width>32</width><height>24</height></size>")},
    "ymir": {"gt/a.xml": _YMIR, "pred/a.xml": _YMIR, "labels.yaml": "labels: [{id: 0, name: cat, aliases: [dog]}]\n"},
    "groundtruth": {"a.manifest": f"{_LINE}\n{_LINE}\n"},
    "labelstudio": {"a.json": json.dumps(_TASKS)},
}
tokens = st.sampled_from([
    b"", b"\0", b'"', b"<", b">", b"&", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"-", b"1e999", b"NaN", b"\xff",
    b"../", b"null", b"<!DOCTYPE a>", b"\\ud800", b"9" * 30, b"*a", b"&a ", b"!!python/name:os.system ",
    "größe".encode(),
])  # fmt: skip
changes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 6), tokens | st.binary(max_size=4)), max_size=6)


def changed(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, new in edits:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + length :]
    return data


def read_changed(name: str, contents: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path, data in ({"images/a.jpg": b"x"} | contents).items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(data)
        for asked in (name, "auto"):
            with contextlib.suppress(InputError):
                parsed = read_source(Path(folder), asked)[1]
                to_table(parsed.ledger)
                assert parsed.images["name"].n_unique() == parsed.images.height
                assert parsed.annotations["category"].drop_nulls().is_in(list(parsed.classes)).all()
                assert parsed.annotations["image_id"].is_in(parsed.images["image_id"].implode()).all()


@pytest.mark.parametrize("name", VALID)
def test_the_files_are_valid_before_they_are_changed(name: str, tmp_path: Path) -> None:
    for path, text in (VALID[name] | {"images/a.jpg": "x"}).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    chosen, parsed = read_source(tmp_path)
    assert (chosen.name, parsed.annotations.height > 0) == (name, True)


@pytest.mark.parametrize("name", VALID)
@given(data=st.data())
def test_a_changed_file_gives_rows_ledger_entries_or_one_sentence(name: str, data: st.DataObject) -> None:
    read_changed(name, {path: changed(text.encode(), data.draw(changes)) for path, text in VALID[name].items()})


@pytest.mark.parametrize("name", FORMATS)
@given(raw=st.binary(max_size=200), suffix=st.sampled_from([".json", ".xml", ".txt", ".csv", ".manifest", ".yaml"]))
def test_noise_gives_rows_ledger_entries_or_one_sentence(name: str, raw: bytes, suffix: str) -> None:
    read_changed(name, {f"annotations/a{suffix}": raw, f"a{suffix}": raw})


def fuzz(target: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("atheris", reason="atheris is not installed")
    command = [sys.executable, str(SCRIPT), target, "-max_len=400", "-seed=1", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.e2e
@pytest.mark.parametrize("target", ["json", "xml", "yaml", "groundtruth"])
def test_the_fuzzer_finds_nothing_in_a_short_while(target: str, tmp_path: Path) -> None:
    done = fuzz(target, tmp_path, "-max_total_time=5")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done" in done.stderr


@pytest.mark.e2e
def test_the_memory_of_whoever_starts_the_fuzzer_is_not_held_against_what_is_fuzzed(tmp_path: Path) -> None:
    held = b"x" * 600_000_000
    done = fuzz("json", tmp_path, "-max_total_time=3", "-rss_limit_mb=500")
    assert len(held) > 500 << 20
    assert done.returncode == 0, done.stderr[-2000:]
