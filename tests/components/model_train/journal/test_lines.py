import math

import pytest

from components.model_train.journal.lines import epoch_line
from components.model_train.story import Epoch

VALUES = {
    "train/box_loss": 1.2344,
    "train/cls_loss": 2.345,
    "train/dfl_loss": 1.1,
    "val/box_loss": 1.5,
    "val/cls_loss": math.nan,
    "precision": 0.612,
    "recall": 0.534,
    "map50": 0.571,
    "map50_95": 0.312,
    "lr": 0.0018,
    "images_per_second": 143.2,
    "gpu_memory": 3.2e9,
}


def test_the_line_of_an_epoch_has_everything_a_person_watches() -> None:
    assert epoch_line(Epoch(number=3, seconds=6.0, values=VALUES), 25, left=38.4) == (
        "epoch  3/25 (12 %), 38 s left: train box 1.234 cls 2.345 dfl 1.100 | val box 1.500 cls NaN | "
        "P 0.612 R 0.534 mAP50 0.571 mAP50-95 0.312 | lr 0.0018 | 143 images/s | GPU 3.2 GB"
    )


@pytest.mark.parametrize(
    ("left", "text"), [(0.0, "0 s"), (59.4, "59 s"), (185.0, "3 min 05 s"), (7800.0, "2 h 10 min"), (None, "44 s")]
)
def test_the_time_left_is_told_as_people_say_it(left: float | None, text: str) -> None:
    assert epoch_line(Epoch(number=3, seconds=6.0, values={}), 25, left) == f"epoch  3/25 (12 %), {text} left"


def test_after_the_last_epoch_no_time_is_left() -> None:
    assert epoch_line(Epoch(number=25, seconds=6.0, values={"map50": 0.5}), 25) == "epoch 25/25 (100 %): mAP50 0.500"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"train/box_loss": math.inf}, "train box inf"),
        ({"train/box_loss": 123456.0}, "train box 1.23e+05"),
        ({"lr": 1e-6}, "lr 1e-06"),
        ({"lr": math.nan, "map50": math.nan}, "mAP50 NaN | lr NaN"),
        ({"train/loss_rpn_box_reg": 0.1, "train/loss_objectness": 0.2}, "train rpn_box_reg 0.100 objectness 0.200"),
        ({"gpu_memory": 0.0, "images_per_second": 0.53}, "0.53 images/s"),
        ({"images_per_second": 1432.7}, "1433 images/s"),
        ({"something/else": 1.0, "gpu_memory": math.nan}, "GPU NaN GB"),
    ],
)
def test_only_what_there_is_is_told(values: dict[str, float], text: str) -> None:
    assert epoch_line(Epoch(number=1, seconds=6.0, values=values), 1) == f"epoch 1/1 (100 %): {text}"
