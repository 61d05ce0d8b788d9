from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.model_eval import overlaps
from components.model_eval.overlaps import in_match_order, match_pairs, overlapping_pairs, paired_overlaps
from components.shared.boxes import overlap_matrix
from components.shared.detection.match import match_boxes
from components.shared.evaluation.outcomes import (
    DETECTIONS,
    TRUTHS,
    UNMATCHED,
    sort_detections,
    truth_table,
    usable_images,
)

EDGE = st.integers(0, 6)
BOX = st.tuples(EDGE, EDGE, st.integers(1, 4), st.integers(1, 4))
# Few places, sizes and scores: equal boxes, equal scores and equal overlaps come up all the time.
FOUND = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.sampled_from([0.2, 0.5, 0.9]), BOX), max_size=14
)
TRUE = st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.booleans(), BOX), max_size=10)


def detection_table(found: list[Any]) -> pl.DataFrame:
    rows = [(image_id, name, score, *map(float, box)) for image_id, name, score, box in found]
    return sort_detections(pl.DataFrame(rows, schema=DETECTIONS, orient="row"))


def truth_rows(true: list[Any]) -> pl.DataFrame:
    rows = [
        (number, image_id, "", name, *map(float, box), float(box[2] * box[3]), ignore, False, ignore)
        for number, (image_id, name, ignore, box) in enumerate(sorted(true, key=lambda row: row[0]))
    ]
    return pl.DataFrame(rows, schema={name: TRUTHS[name] for name in UNMATCHED}, orient="row")


def matched_by_image(detections: pl.DataFrame, truths: pl.DataFrame, threshold: float) -> list[int]:
    """The partners match.py gives, one image after the other, as rows of the whole table."""
    partners = []
    for image_id in detections.get_column("image_id").unique(maintain_order=True):
        found = detections.filter(pl.col("image_id") == image_id)
        true = truths.with_row_index("row").filter(pl.col("image_id") == image_id)
        matches = match_boxes(
            found.select("x", "y", "width", "height").to_numpy().astype(np.float64).reshape(-1, 4),
            found.get_column("score").to_numpy(),
            true.select("x", "y", "width", "height").to_numpy().astype(np.float64).reshape(-1, 4),
            ignore=true.get_column("ignore").to_numpy(),
            labels=np.array([ord(name[-1]) for name in found.get_column("category")], dtype=np.int64),
            truth_labels=np.array([ord(name[-1]) for name in true.get_column("category")], dtype=np.int64),
            threshold=threshold,
        )
        rows = true.get_column("row").to_list()
        partners += [rows[partner] if partner >= 0 else -1 for partner in matches.partner.tolist()]
    return partners


def matched_at_once(detections: pl.DataFrame, truths: pl.DataFrame, threshold: float) -> list[int]:
    ignore = truths.get_column("ignore").to_numpy()
    scores = detections.get_column("score").to_numpy()
    pairs = overlapping_pairs(detections, truths, least=0.05, same_class=True)
    ordered = in_match_order(pairs, scores, ignore)
    return match_pairs(ordered, ignore, predictions=len(scores), threshold=threshold).tolist()


@settings(max_examples=150, deadline=None)
@given(FOUND, TRUE, st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]))
def test_matching_everything_at_once_gives_the_partners_of_matching_image_by_image(
    found: list[Any], true: list[Any], threshold: float
) -> None:
    detections, truths = detection_table(found), truth_rows(true)

    assert matched_at_once(detections, truths, threshold) == matched_by_image(detections, truths, threshold)


@pytest.mark.parametrize("seed", range(4))
def test_the_partners_are_the_same_for_boxes_of_every_size(random_set: Callable[..., Any], seed: int) -> None:
    case = random_set(seed, crowd=0.3, boxes=12)
    truths = truth_table(case.dataset, usable_images(case.dataset))
    detections = sort_detections(case.detections)

    partners = matched_at_once(detections, truths, 0.5)

    assert partners == matched_by_image(detections, truths, 0.5)
    assert max(partners) > 0


@pytest.mark.parametrize("most", [1, 7, 50])
def test_working_in_pieces_changes_nothing(
    random_set: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    case = random_set(5)
    truths = truth_table(case.dataset, usable_images(case.dataset))
    whole = overlapping_pairs(case.detections, truths, least=0.1, same_class=False)
    monkeypatch.setattr(overlaps, "_MOST_PAIRS", most)

    pieces = overlapping_pairs(case.detections, truths, least=0.1, same_class=False)

    assert pieces.prediction.tolist() == whole.prediction.tolist()
    assert pieces.truth.tolist() == whole.truth.tolist()
    assert pieces.overlap.tolist() == whole.overlap.tolist()


def test_the_overlaps_of_pairs_are_those_of_the_matrix_to_the_last_bit() -> None:
    random = np.random.default_rng(3)
    first, second = (random.uniform(-5, 40, (50, 4)) * (1, 1, 0.8, 0.8) for _ in range(2))
    first[:, 2:], second[:, 2:] = np.abs(first[:, 2:]), np.abs(second[:, 2:])
    ignore = random.random(50) < 0.4

    pairs = paired_overlaps(first.T, second.T, ignore)

    assert pairs.tolist() == np.diag(overlap_matrix(first, second, ignore)).tolist()
    assert np.count_nonzero(pairs) > 10


def test_nothing_to_match_gives_no_pairs() -> None:
    pairs = overlapping_pairs(detection_table([]), truth_rows([]), least=0.5, same_class=True)

    assert len(pairs.overlap) == 0
