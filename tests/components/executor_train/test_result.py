import json
import math

import pytest
import yaml

from components.executor_train.result import describe_stages, parse_result
from components.shared.errors import FormatError, InputError, UnsafeInputError

DOCUMENTED = """\
best_stage_name: epoch_50
model_stages:
  epoch_50: {files: [149_1.0-symbol.json, 149_1.0-0149.params], mAP: 0.8, stage_name: epoch_50, timestamp: 1663934682}
  epoch_10: {files: [a.params], mAP: 0.6, mAR: 0.6, TP: 50, FP: 30, FN: 30, stage_name: epoch_10, timestamp: 1663930000}
evaluate_config: {conf_thr: 0.005, iou_thr: 0.5}
"""
OF_THE_SDK = """\
best_stage_name: best
mAP: 0.7
attachments: {images: [cover.png]}
model_stages:
  best: {files: [/out/models/best/best.pt], mAP: 0.7, tp: 3, fp: 1, fn: 2, stage_name: best, timestamp: 3}
"""


def test_the_spelling_of_the_document_is_read() -> None:
    result = parse_result(DOCUMENTED.encode())
    assert [stage.name for stage in result.stages] == ["epoch_10", "epoch_50"]
    assert result.best == "epoch_50"
    assert result.stages[0].numbers == {"mar": 0.6, "tp": 50, "fp": 30, "fn": 30}
    assert result.stages[1].files == ("149_1.0-symbol.json", "149_1.0-0149.params")
    assert result.evaluation == {"conf_thr": "0.005", "iou_thr": "0.5"}


def test_the_spelling_of_the_sdk_is_read() -> None:
    result = parse_result(OF_THE_SDK.encode())
    assert result.stages[0].files == ("best/best.pt",)
    assert result.stages[0].numbers == {"tp": 3, "fp": 1, "fn": 2}
    assert result.attachments == ("cover.png",)


def test_an_old_executors_one_model_is_a_stage() -> None:
    (stage,) = parse_result(b"model: [best.pt, a.yaml]\nmap: 0.5\nclass_aps: {cat: 0.5}\n").stages
    assert (stage.name, stage.files, stage.map) == ("default", ("best.pt", "a.yaml"), 0.5)


@pytest.mark.parametrize("score", [".nan", "nan", "null", "[]", "hello"])
def test_a_score_that_is_no_number_is_none(score: str) -> None:
    (stage,) = parse_result(f"model_stages: {{a: {{files: [x], mAP: {score}}}}}".encode()).stages
    assert math.isnan(stage.map)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", ".", "a\\b", "/out/models/../x", "", "a\x07", "x" * 300],
)
def test_a_file_outside_of_its_folder_is_refused(name: str) -> None:
    document = {"model_stages": {"a": {"files": [name], "mAP": 0.5}}}
    with pytest.raises(UnsafeInputError, match="outside of its folder"):
        parse_result(yaml.safe_dump(document).encode())


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".", "..", "a b", "x" * 200, "\u202e"])
def test_a_stage_whose_name_is_no_folders_is_refused(name: str) -> None:
    document = {"model_stages": {"good": {"files": ["x"], "mAP": 0.5, "stage_name": name or "/"}}}
    with pytest.raises(UnsafeInputError, match="no name for a folder"):
        parse_result(yaml.safe_dump(document).encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "model_stages: {}",
        "model_stages: 3",
        "model_stages: {a: 3}",
        "model_stages: {a: {mAP: 1}}",
        "a: [",
        "map: 1",
    ],
)
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_result(text.encode())


@pytest.mark.parametrize("text", ["a: &x [1]\nb: *x", "a: !!python/object/apply:os.system [ls]", "x" * (2 << 20)])
def test_hostile_yaml_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_result(text.encode())


def test_what_is_kept_of_the_stages_has_no_times() -> None:
    document = json.loads(describe_stages(parse_result(DOCUMENTED.encode()), "epoch_50"))
    assert document["kept"] == "epoch_50"
    assert document["stages"][1] == {"name": "epoch_50", "map": 0.8}
    assert "timestamp" not in json.dumps(document)
