import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.shared.detection.match import ALONE, Matches, Outcome, match_boxes

TRUTH = np.array([[0.0, 0.0, 100.0, 100.0], [200.0, 0.0, 100.0, 100.0]])


def predicted(matches: Matches) -> list[Outcome]:
    """What became of each prediction."""
    right = [Outcome.FALSE_POSITIVE if partner == ALONE else Outcome.TRUE_POSITIVE for partner in matches.partner]
    return [Outcome.IGNORED if flag else one for flag, one in zip(matches.ignored, right, strict=True)]


def found(matches: Matches) -> list[Outcome]:
    """What became of each ground truth box."""
    seen = [Outcome.MISSED if partner == ALONE else Outcome.MATCHED for partner in matches.truth_partner]
    return [Outcome.IGNORED if flag else one for flag, one in zip(matches.ignore, seen, strict=True)]


def near(truth: int, shift: float) -> list[float]:
    return [TRUTH[truth, 0] + shift, *TRUTH[truth, 1:].tolist()]


def test_the_better_score_wins_and_the_second_find_of_an_object_is_wrong() -> None:
    boxes = np.array([near(0, 0), near(0, 10)])

    matches = match_boxes(boxes, np.array([0.5, 0.9]), TRUTH)

    assert predicted(matches) == [Outcome.FALSE_POSITIVE, Outcome.TRUE_POSITIVE]
    assert found(matches) == [Outcome.MATCHED, Outcome.MISSED]
    assert matches.truth_partner.tolist() == [1, ALONE]
    assert matches.partner.tolist() == [ALONE, 0]
    assert matches.iou.tolist() == pytest.approx([1.0, 90 / 110])


def test_a_prediction_of_another_class_finds_nothing_unless_classes_do_not_count() -> None:
    boxes, scores = np.array([near(0, 0)]), np.array([0.9])
    labels, truth_labels = np.array([3]), np.array([1, 3])

    apart = match_boxes(boxes, scores, TRUTH, labels=labels, truth_labels=truth_labels)
    together = match_boxes(boxes, scores, TRUTH)

    assert predicted(apart) == [Outcome.FALSE_POSITIVE]
    assert apart.iou.tolist() == [0.0]
    assert predicted(together) == [Outcome.TRUE_POSITIVE]


def test_an_ignore_region_takes_any_number_of_predictions() -> None:
    boxes = np.array([[10.0, 10.0, 5.0, 5.0], [50.0, 50.0, 5.0, 5.0], near(1, 0)])

    matches = match_boxes(boxes, np.array([0.9, 0.8, 0.7]), TRUTH, ignore=np.array([True, False]))

    assert predicted(matches) == [Outcome.IGNORED, Outcome.IGNORED, Outcome.TRUE_POSITIVE]
    assert found(matches) == [Outcome.IGNORED, Outcome.MATCHED]


def test_a_real_object_goes_before_an_ignore_region_that_fits_better() -> None:
    truth = np.array([[0.0, 0.0, 100.0, 100.0], [20.0, 0.0, 100.0, 100.0]])

    matches = match_boxes(np.array([[0.0, 0.0, 100.0, 100.0]]), np.array([1.0]), truth, ignore=np.array([True, False]))

    assert matches.partner.tolist() == [1]


@pytest.mark.parametrize(("predictions", "truths"), [(0, 0), (0, 2), (2, 0)])
def test_an_empty_side_leaves_the_other_alone(predictions: int, truths: int) -> None:
    matches = match_boxes(TRUTH[:predictions], np.ones(predictions), TRUTH[:truths])

    assert predicted(matches) == [Outcome.FALSE_POSITIVE] * predictions
    assert found(matches) == [Outcome.MISSED] * truths


def test_leaving_out_weak_predictions_changes_nothing_for_the_strong_ones() -> None:
    random = np.random.default_rng(3)
    truths = random.uniform(0, 50, (10, 4)) + [0, 0, 20, 20]
    boxes = np.repeat(truths, 4, axis=0) + random.uniform(-8, 8, (40, 4))
    scores = random.uniform(0, 1, 40)
    strong = scores >= 0.4

    everything = match_boxes(boxes, scores, truths)
    part = match_boxes(boxes[strong], scores[strong], truths)

    assert everything.partner[strong].tolist() == part.partner.tolist()


@pytest.mark.parametrize("threshold", [0.5, 0.75, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_matches_are_those_of_pycocotools(seed: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    truths = np.round(random.uniform(0, 60, (12, 4)) + [0, 0, 15, 15])
    boxes = np.concatenate([np.repeat(truths, 4, axis=0) + random.integers(-6, 7, (48, 4)), truths])
    scores = np.round(random.uniform(0, 1, len(boxes)), 1)
    crowd = random.random(len(truths)) < 0.25

    matches = match_boxes(boxes, scores, truths, ignore=crowd, threshold=threshold)

    partner, ignored = coco_matches(boxes, scores, truths, crowd, threshold)
    assert matches.partner.tolist() == partner
    assert matches.ignored.tolist() == ignored


def coco_matches(
    boxes: np.ndarray, scores: np.ndarray, truths: np.ndarray, crowd: np.ndarray, threshold: float
) -> tuple[list[int], list[bool]]:
    head = {"images": [{"id": 1}], "categories": [{"id": 1}]}
    true = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 1, "iscrowd": int(flag)}
        for i, (box, flag) in enumerate(zip(truths.tolist(), crowd, strict=True))
    ]
    found = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 1, "score": score}
        for i, (box, score) in enumerate(zip(boxes.tolist(), scores.tolist(), strict=True))
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for annotations in (true, found):
            side = COCO()
            side.dataset = {**head, "annotations": annotations}
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, "bbox")
        evaluation.params.iouThrs = np.array([threshold])
        evaluation.evaluate()
    result = evaluation.evalImgs[0]
    order = [number - 1 for number in result["dtIds"]]
    partner, ignored = np.zeros(len(boxes), int), np.zeros(len(boxes), bool)
    partner[order], ignored[order] = result["dtMatches"][0] - 1, result["dtIgnore"][0]
    return partner.tolist(), ignored.tolist()
