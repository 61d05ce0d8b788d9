"""Which runtime serves, from which confidence, and how far apart two runtimes are."""

import functools
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from components.model_pack.agreement import agreement
from components.model_pack.choice import choose_runtime, choose_thresholds, drop_of, refuse_inaccurate
from components.model_pack.measure import Measured
from components.model_pack.options import PackOptions
from components.model_pack.samples import Samples
from components.shared.detection.detector import Detections
from components.shared.detection.inference import Inference
from components.shared.errors import ArchiveError, ConfigError
from components.shared.evaluation.outcomes import DETECTIONS, TRUTHS, UNMATCHED

ALL = ("onnx", "openvino", "torchscript", "onnx-int8")
CLASSES = ("cat", "dog")


def measured(
    runtime: str, *, ms: float = 10.0, map50_95: float | None = 0.5, found: dict[int, Detections] | None = None
) -> Measured:
    return Measured(runtime, found or {}, pl.DataFrame(schema=DETECTIONS), (ms, ms, ms), map50_95, map50_95, 1.0)


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ({}, "torch"),
        ({"onnx": 10.0}, "onnx"),
        ({"onnx": 12.0}, "onnx"),  # slower than the weights, but not by enough
        ({"onnx": 12.6}, "torch"),
        ({"onnx": 10.0, "openvino": 8.1}, "onnx"),
        ({"onnx": 10.0, "openvino": 7.9}, "openvino"),
        ({"onnx": 10.0, "openvino": 9.0, "onnx-int8": 5.0}, "onnx-int8"),
        ({"onnx": 10.0, "openvino": 7.0, "onnx-int8": 6.0}, "openvino"),
        ({"torchscript": 10.0}, "torchscript"),
        ({"onnx": 10.0, "openvino-bf16": 8.1}, "onnx"),
        ({"onnx": 10.0, "openvino-bf16": 6.0, "onnx-int8": 7.0}, "openvino-bf16"),
    ],
)
def test_the_first_of_the_preferred_serves_unless_another_is_much_faster(speeds: dict[str, float], chosen: str) -> None:
    runtimes = [measured("torch"), *(measured(name, ms=ms) for name, ms in speeds.items())]
    assert choose_runtime(runtimes, PackOptions(runtimes=tuple(speeds))) == chosen


def test_what_the_options_name_serves_however_slow_it_is() -> None:
    runtimes = [measured("torch"), measured("onnx", ms=1000.0), measured("openvino", ms=1.0)]
    assert choose_runtime(runtimes, PackOptions(runtimes=ALL, serve_runtime="onnx")) == "onnx"
    assert choose_runtime(runtimes, PackOptions(runtimes=ALL, serve_runtime="torch")) == "torch"


def test_without_ground_truth_nobody_knows_what_a_runtime_loses_so_the_weights_serve() -> None:
    runtimes = [measured("torch", map50_95=None), measured("onnx", ms=1.0, map50_95=None)]
    assert choose_runtime(runtimes, PackOptions()) == "torch"
    assert drop_of(*runtimes) is None


def test_a_loss_above_max_drop_is_refused_and_one_at_it_is_not() -> None:
    runtimes = [measured("torch"), measured("onnx", map50_95=0.25), measured("onnx-int8", map50_95=0.24)]
    refused = refuse_inaccurate(runtimes, PackOptions(runtimes=ALL, max_drop=0.25))
    assert list(refused) == ["onnx-int8"]
    assert "loses 0.2600 mAP50-95 (0.2400 against 0.5000 of the weights)" in refused["onnx-int8"]


def test_a_gain_is_no_loss() -> None:
    assert refuse_inaccurate([measured("torch"), measured("onnx", map50_95=0.6)], PackOptions(max_drop=0.0)) == {}


def test_the_runtime_that_must_serve_may_not_lose_too_much() -> None:
    runtimes = [measured("torch"), measured("onnx", map50_95=0.1)]
    with pytest.raises(ArchiveError, match=r"'onnx' cannot serve\. It loses 0\.4000.*raise max_drop"):
        refuse_inaccurate(runtimes, PackOptions(serve_runtime="onnx"))


def test_only_boxes_with_served_scores_are_compared() -> None:
    ours = {0: detections((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.5, 1), (80, 80, 90, 90, 0.2, 0))}
    theirs = {0: detections((0, 0.5, 10, 10, 0.8, 0), (20, 20, 30, 30, 0.6, 1))}
    pair = measured("torch", found=ours), measured("onnx", found=theirs)
    found = agreement(*pair, Inference(confidence=0.25), CLASSES)
    assert found.box == pytest.approx(0.5)
    assert found.score == pytest.approx(0.1)
    assert found.apart == 2
    assert agreement(*pair, Inference(confidence=0.25, class_confidence={"dog": 0.7}), CLASSES).apart == 0


def test_boxes_of_other_classes_are_no_pair() -> None:
    ours, theirs = {0: detections((0, 0, 10, 10, 0.9, 0))}, {0: detections((0, 0, 10, 10, 0.9, 1))}
    found = agreement(measured("torch", found=ours), measured("onnx", found=theirs), Inference(), CLASSES)
    assert (found.box, found.score, found.apart) == (0.0, 0.0, 2)


def samples_of(count: int, classes: tuple[str, ...] = CLASSES) -> Samples:
    """One image a box; every tenth is a dog."""
    rows = [
        (number, number, f"{number}.png", classes[number % 10 == 0], 0.0, 0.0, 10.0, 10.0, 100.0, False, False, False)
        for number in range(count)
    ]
    truths = pl.DataFrame(rows, schema={name: TRUTHS[name] for name in UNMATCHED}, orient="row")
    images = truths.select("image_id", "name")
    return Samples(images, truths, classes, Path("absent"))


def served_on(samples: Samples, right: float, wrong: float) -> Measured:
    """Every object is found with the score ``right``, and beside each is nothing, taken for one, with ``wrong``."""
    rows = [
        (image, category, score, left, 0.0, 10.0, 10.0)
        for image, category in samples.truths.select("image_id", "category").iter_rows()
        for score, left in ((right, 0.0), (wrong, 100.0))
    ]
    table = pl.DataFrame(rows, schema=DETECTIONS, orient="row").sort("image_id", "score", descending=[False, True])
    return Measured("onnx", {}, table, (1.0,), 0.5, 0.5, 1.0)


def test_the_confidences_lie_between_the_right_and_the_wrong_boxes() -> None:
    samples = samples_of(60)
    chosen, source = choose_thresholds(served_on(samples, 0.8, 0.3), samples, Inference())
    assert 0.3 < chosen.confidence <= 0.8
    assert set(chosen.class_confidence) == {"cat"}, "there are six dogs only"
    assert 0.3 < chosen.class_confidence["cat"] <= 0.8
    assert "60 objects" in source


def test_confidences_are_whole_hundredths_and_never_above_a_right_score() -> None:
    samples = samples_of(60)
    chosen, _ = choose_thresholds(served_on(samples, 0.6789, 0.6712), samples, Inference())
    assert chosen.class_confidence["cat"] == 0.67


def test_a_confidence_is_never_zero() -> None:
    samples = samples_of(60)
    chosen, _ = choose_thresholds(served_on(samples, 0.004, 0.001), samples, Inference())
    assert chosen.confidence == 0.01


def test_a_handful_of_objects_chooses_nothing() -> None:
    samples = samples_of(19)
    chosen, source = choose_thresholds(served_on(samples, 0.8, 0.3), samples, Inference())
    assert chosen == Inference()
    assert "have 19 objects" in source


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_drop": 1.5}, "max_drop"),
        ({"max_drop": float("nan")}, "max_drop"),
        ({"tile": 8}, "tile is 8"),
        ({"tile": 1 << 20}, "tile is"),
        ({"tile_overlap": 0.9}, "tile_overlap"),
        ({"tile_merge": "soft"}, "tile_merge"),
        ({"images": -1}, "runtime_images"),
        ({"runtimes": ("onxx",)}, "did you mean 'onnx'"),
        ({"runtimes": ("onnx", "onnx")}, "once"),
        ({"serve_runtime": "openvino"}, "add it to runtimes"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        functools.partial(PackOptions, **wrong)()
