import pytest

from components.executor_train.contract import State
from components.executor_train.failure import find_failure, last_line
from components.executor_train.monitor import Monitor, parse_monitor
from components.shared.errors import ConfigError, DivergedError, OutOfMemoryError, TrainingError


@pytest.mark.parametrize(
    ("text", "monitor"),
    [
        ("train_0 1622552974.081620 0.5 2", Monitor(0.5, State.RUNNING)),
        (
            "train_0\t1622552974.040471\t1\t4\nno training data found",
            Monitor(1.0, State.ERROR, 0, "no training data found"),
        ),
        ("t1\t1622552974.0\t0.25\t2\t0\n", Monitor(0.25, State.RUNNING)),
        ("t1\t1622552974.0\t1.00\t4\t300103\nTraceback\n  x\n", Monitor(1.0, State.ERROR, 300103, "Traceback\n  x")),
        ("t1\t1.0\t0.50\tExecutorState.ES_RUNNING\t0", Monitor(0.5, State.RUNNING)),
        ("t1\t1.0\t1.00\tdone", Monitor(1.0, State.DONE)),
        ("t1\t1.0\t0.10\t2\treading the data", Monitor(0.1, State.RUNNING, 0, "reading the data")),
        ("t1\t1.0\t7\t2.0", Monitor(1.0, State.RUNNING)),
        ("t1\t1.0\tnan\t9", Monitor(None, None)),
        ("t1", Monitor()),
        ("\x00\xff\n", Monitor()),
    ],
)
def test_a_record_is_understood_as_far_as_it_goes(text: str, monitor: Monitor) -> None:
    assert parse_monitor(text.encode("utf-8")) == monitor


def failure(exit_code: int, record: str = "", log: str = "") -> str:
    found = find_failure(exit_code, parse_monitor(record.encode()) if record else None, log)
    assert found is not None
    return str(found)


def test_an_executor_that_ended_well_has_not_failed() -> None:
    assert find_failure(0, None, "") is None
    assert find_failure(0, parse_monitor(b"t\t1\t1.0\t3\t0"), "error: none") is None


def test_a_failure_is_one_sentence_of_the_return_code_and_the_last_words() -> None:
    said = failure(1, "t\t1\t1\t4\t300103\nTraceback (most recent call last):\nRuntimeError: CUDA out of memory\n")
    assert said == (
        "The executor failed, as the GPU has not enough memory (return code 300103, exit code 1)."
        " Its last words: 'RuntimeError: CUDA out of memory'."
    )


@pytest.mark.parametrize(
    ("exit_code", "record", "kind", "words"),
    [
        (1, "t\t1\t1\t4\t300001\nx", ConfigError, "its configuration is wrong"),
        (1, "t\t1\t1\t4\t300201\nx", DivergedError, "the loss is no number any more"),
        (1, "t\t1\t1\t4\t300103\nx", OutOfMemoryError, "not enough memory"),
        (1, "t\t1\t1\t4\t300002\nx", TrainingError, "cannot use the data set"),
        (1, "t\t1\t1\t4\t999\nx", TrainingError, "(return code 999, exit code 1)"),
        (0, "t\t1\t1\t4\nno data", TrainingError, "Its last words: 'no data'"),
        (0, "t\t1\t1\t4", TrainingError, "it says so in monitor.txt"),
        (137, "t\t1\t0.3\t2\t0", TrainingError, "it was killed"),
        (127, "", TrainingError, "was not found"),
        (
            3,
            "",
            TrainingError,
            "The executor failed (exit code 3). It said nothing: unpack the tar that executor_stage",
        ),
    ],
)
def test_each_failure_says_what_it_means(exit_code: int, record: str, kind: type[Exception], words: str) -> None:
    assert type(find_failure(exit_code, parse_monitor(record.encode()) if record else None, "")) is kind
    assert words in failure(exit_code, record)


def test_the_log_speaks_where_the_monitor_does_not() -> None:
    assert "Its last words: 'boom'" in failure(1, "t\t1\t0.3\t2\t0", "epoch 1\n\x1b[31mboom\x1b[0m\n\n")


def test_a_progress_bar_counts_by_what_it_showed_last() -> None:
    assert last_line("a\n 10%|#  |\r 20%|## |") == "20%|## |"


def test_long_last_words_are_cut() -> None:
    assert len(failure(1, "", "x" * 10_000)) < 500
