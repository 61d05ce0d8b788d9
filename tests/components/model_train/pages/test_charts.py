import math

import pytest

from components.model_train.pages.charts import Curves, epochs_of, loss_titles
from components.model_train.story import Attempt, Epoch, Overfitting, Story
from components.shared.report.charts import Chart


def story(epochs: int = 12, losses: tuple[str, ...] = ("box_loss", "cls_loss"), **changes: object) -> Story:
    made = [
        Epoch(
            number=n,
            seconds=n,
            values={f"{split}/{name}": 3 / n for name in losses for split in ("train", "val")}
            | {"map50": n / 20, "map50_95": n / 30, "precision": 0.5, "recall": 0.5, "lr": 0.01},
        )
        for n in range(1, epochs + 1)
    ]
    return Story(epochs=made).model_copy(update=changes)


def changed(told: Story, number: int, **values: float) -> Story:
    epochs = [
        epoch.model_copy(update={"values": {**epoch.values, **{k.replace("__", "/"): v for k, v in values.items()}}})
        if epoch.number == number
        else epoch
        for epoch in told.epochs
    ]
    return told.model_copy(update={"epochs": epochs})


def by_title(charts: list[Chart]) -> dict[str, Chart]:
    return {chart.title: chart for chart in charts}


def test_each_loss_has_a_chart_and_several_have_one_of_their_sum() -> None:
    charts = by_title(Curves(story(), 3).losses())
    assert list(charts) == ["All losses together", "Box loss", "Class loss"]
    assert charts["All losses together"].data.rows[0] == (1, 6.0, 6.0)
    assert charts["Box loss"].data.columns == ("epoch", "training", "validation")


def test_a_sum_the_trainer_gives_itself_is_not_added_to_its_parts() -> None:
    told = story(losses=("loss", "box_loss"))
    assert list(by_title(Curves(told, 3).losses())) == ["All losses together", "Box loss"]
    assert Curves(told, 3).losses()[0].data.rows[0] == (1, 3.0, 3.0)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("box_loss", "Box loss"),
        ("box", "Box loss"),
        ("l1_loss", "Corner loss (L1)"),
        ("giou_loss", "Overlap loss (GIoU)"),
        ("dfl_loss", "Edge loss (DFL)"),
        ("loss_classifier", "Class loss"),
        ("loss_rpn_box_reg", "Box loss of proposals"),
        ("loss_objectness", "Objectness loss of proposals"),
        ("bbox_regression", "Box loss"),
        ("my_own-thing", "My own thing loss"),
        ("loss", "All losses together"),
        ("", "All losses together"),
    ],
)
def test_a_loss_of_any_name_gets_a_readable_title(name: str, title: str) -> None:
    assert loss_titles([name]) == {name: title}


def test_losses_that_would_share_a_title_keep_their_names() -> None:
    assert loss_titles(["box_loss", "loss_box_reg", "cls"]) == {
        "box_loss": "Box loss (box_loss)",
        "loss_box_reg": "Box loss (loss_box_reg)",
        "cls": "Class loss",
    }


def test_a_loss_of_one_split_alone_is_drawn_alone_and_left_out_of_the_sum() -> None:
    told = story()
    for number in range(1, 13):
        told = changed(told, number, train__aux_loss=9.0)
    charts = by_title(Curves(told, 3).losses())
    assert charts["Aux loss"].data.columns == ("epoch", "training")
    assert charts["All losses together"].data.rows[0] == (1, 6.0, 6.0)


def test_a_loss_that_is_no_number_leaves_a_gap_in_it_and_in_the_sum() -> None:
    charts = by_title(Curves(changed(story(), 5, val__cls_loss=math.nan), 3).losses())
    assert math.isnan(charts["Class loss"].data.rows[4][2])
    assert math.isnan(charts["All losses together"].data.rows[4][2])
    assert charts["All losses together"].data.rows[4][1] == pytest.approx(1.2)
    assert not math.isnan(charts["Box loss"].data.rows[4][2])


def test_the_axis_reaches_to_the_last_epoch_even_where_its_values_are_missing() -> None:
    (chart,) = Curves(changed(story(losses=("a",)), 12, train__a=math.nan, val__a=math.nan), 3).losses()
    assert 'data-to="12.0"' in chart.svg


def test_one_loss_far_above_the_others_is_cut_off_and_said() -> None:
    titles = by_title(Curves(changed(story(losses=("a",)), 1, val__a=5000.0), 3).losses())
    assert list(titles) == ["A loss (cut off above 3.15, highest 5e+03)"]


def test_best_epoch_turn_overfitting_and_resumes_are_marked() -> None:
    attempts = [Attempt(first_epoch=1), Attempt(first_epoch=1), Attempt(first_epoch=7)]
    found = Overfitting(best_epoch=4, noticed_epoch=9, reason="", stopped=False)
    curves = Curves(story(attempts=attempts, overfitting=found), 10)
    (total, *_), (precision, *_) = curves.losses(), curves.metrics()
    for words in ("best mAP at 10", "resumed at 7", "validation loss turns at 4", "epochs 4 to 9 from 4 to 9"):
        assert words in total.description
    assert total.description.count("resumed at") == 1
    assert "best mAP at 10" in precision.description
    assert "turns" not in precision.description


def test_pace_is_drawn_where_it_was_measured() -> None:
    told = story()
    assert Curves(told, 1).pace() == []
    for number in range(1, 13):
        told = changed(told, number, images_per_second=100.0, gpu_memory=0.0)
    assert [chart.title for chart in Curves(told, 1).pace()] == ["Speed"]
    told = changed(told, 5, gpu_memory=7.5e9)
    memory = Curves(told, 1).pace()[1]
    assert memory.data.rows[4] == (5, 7.5)


def test_no_epochs_and_one_epoch_are_drawn() -> None:
    assert Curves(Story(), 0).losses() == []
    assert len(Curves(Story(), 0).metrics()) == 3
    assert len(Curves(story(1), 1).losses()) == 3


def test_an_epoch_that_was_learned_again_counts_once() -> None:
    told = story(3)
    again = told.epochs[1].model_copy(update={"seconds": 9.0})
    assert [e.seconds for e in epochs_of(told.model_copy(update={"epochs": [*told.epochs, again]}))] == [1.0, 9.0, 3.0]
