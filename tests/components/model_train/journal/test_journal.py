import json
import logging
import math
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.model_train.journal import Journal, courier
from components.model_train.journal.courier import Courier
from components.model_train.journal.names import grouped
from components.model_train.story import End, Epoch
from components.shared.errors import StoreError
from components.shared.store import Store, open_store

JSONL = "progress/r1/model_train.epochs.jsonl"
ROOT = Path(__file__).resolve().parents[4]
EVENTS = "progress/r1/model_train.tensorboard/"


def lines(store: Store) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.read(JSONL).splitlines()]


def events(data: bytes) -> Iterator[Any]:
    """The events of a TensorBoard file; a wrong checksum is an error."""
    from tensorboardX.crc32c import crc32c  # noqa: PLC0415 - loads torch
    from tensorboardX.proto.event_pb2 import Event  # noqa: PLC0415 - same

    def check(part: bytes, stored: bytes) -> None:
        crc = crc32c(part)
        assert ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF) == struct.unpack("<I", stored)[0]

    position = 0
    while position < len(data):
        (length,) = struct.unpack("<Q", data[position : position + 8])
        body = data[position + 12 : position + 12 + length]
        check(data[position : position + 8], data[position + 8 : position + 12])
        check(body, data[position + 12 + length : position + 16 + length])
        position += 16 + length
        yield Event.FromString(body)


def scalars(files: Sequence[bytes]) -> dict[str, dict[int, float]]:
    """Tag -> step -> value as TensorBoard shows them: a start at a step takes back what was told of later ones."""
    found: dict[str, dict[int, float]] = {}
    for data in files:
        for event in events(data):
            if event.HasField("session_log"):
                found = {tag: {n: x for n, x in steps.items() if n < event.step} for tag, steps in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.02)


def event_files(store: Store) -> list[bytes]:
    return [store.read(item.key) for item in store.list(EVENTS)]


def test_each_epoch_is_a_line_in_the_store_with_nan_as_nan(
    make_journal: Callable[..., Journal], make_epoch: Callable[..., Epoch], store: Store
) -> None:
    journal = make_journal()
    for number in (1, 2, 3):
        journal.epoch(make_epoch(number))
    journal.close("finished")
    told = lines(store)
    assert [line["number"] for line in told] == [1, 2, 3]
    assert told[1]["values"]["val/box_loss"] == "NaN"
    assert Epoch.model_validate(told[1]).values["map50"] == 0.2
    assert journal.warnings == []


def test_tensorboards_file_has_every_value_under_its_group(
    make_journal: Callable[..., Journal], make_epoch: Callable[..., Epoch], store: Store
) -> None:
    journal = make_journal()
    for number in (1, 2):
        journal.epoch(make_epoch(number))
    journal.close("finished")
    (data,) = event_files(store)
    assert next(events(data)).file_version == "brain.Event:2"
    told = scalars([data])
    assert sorted(told) == [
        "gpu/memory_bytes",
        "loss/train/box",
        "loss/val/box",
        "lr",
        "metrics/mAP50",
        "metrics/precision",
        "speed/images_per_second",
    ]
    assert told["metrics/mAP50"] == pytest.approx({1: 0.1, 2: 0.2})
    assert math.isnan(told["loss/val/box"][2])
    assert next(iter(store.list(EVENTS))).key.startswith(f"{EVENTS}events.out.tfevents.")


def test_the_local_event_file_can_be_followed_while_the_training_goes_on(
    make_journal: Callable[..., Journal],
    make_epoch: Callable[..., Epoch],
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(courier, "PAUSE", 0.0)
    journal = make_journal(folder=tmp_path / "tb")
    journal.epoch(make_epoch(1))
    wait_until(lambda: bool(event_files(store)) and store.exists(JSONL))
    (path,) = (tmp_path / "tb").iterdir()
    assert scalars([path.read_bytes()])["lr"] == pytest.approx({1: 0.002})
    assert lines(store)[0]["number"] == 1
    journal.close("finished")


def test_an_epoch_learned_again_replaces_itself_and_what_followed(
    make_journal: Callable[..., Journal],
    make_epoch: Callable[..., Epoch],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(courier, "PAUSE", 0.0)
    journal = make_journal()
    for number, map50 in ((1, 0.1), (2, 0.2), (3, 0.3), (2, 0.5)):
        journal.epoch(make_epoch(number, map50=map50))
        time.sleep(0.1)
    journal.close("finished")
    assert [(line["number"], line["values"]["map50"]) for line in lines(store)] == [(1, 0.1), (2, 0.5)]
    assert scalars(event_files(store))["metrics/mAP50"] == pytest.approx({1: 0.1, 2: 0.5})


def test_a_second_attempt_goes_on_where_the_first_one_was_cut_off(
    make_journal: Callable[..., Journal], make_epoch: Callable[..., Epoch], store: Store
) -> None:
    first = make_journal()
    for number in (1, 2, 3):
        first.epoch(make_epoch(number))
    first.close("preempted")
    second = make_journal()
    for number in (3, 4):
        second.epoch(make_epoch(number, map50=0.9))
    second.close("finished")
    assert [(line["number"], line["values"]["map50"]) for line in lines(store)] == [
        (1, 0.1),
        (2, 0.2),
        (3, 0.9),
        (4, 0.9),
    ]
    assert len(event_files(store)) == 2
    assert scalars(event_files(store))["metrics/mAP50"] == pytest.approx({1: 0.1, 2: 0.2, 3: 0.9, 4: 0.9})


def test_an_unreadable_file_of_an_earlier_attempt_is_replaced(
    make_journal: Callable[..., Journal], make_epoch: Callable[..., Epoch], store: Store
) -> None:
    store.write(JSONL, b'{"number": 1, "sec\n\xff\x00')
    journal = make_journal()
    journal.epoch(make_epoch(5))
    journal.close("finished")
    assert [line["number"] for line in lines(store)] == [5]


def test_a_training_without_epochs_leaves_nothing(make_journal: Callable[..., Journal], store: Store) -> None:
    make_journal().close("diverged")
    assert list(store.list("")) == []


def test_a_folder_that_cannot_be_written_costs_tensorboard_and_one_warning(
    make_journal: Callable[..., Journal],
    make_epoch: Callable[..., Epoch],
    store: Store,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("in the way")
    journal = make_journal(folder=tmp_path / "file" / "tb")
    for number in (1, 2):
        journal.epoch(make_epoch(number))
    journal.close("finished")
    assert [line["number"] for line in lines(store)] == [1, 2]
    (warning,) = journal.warnings
    assert warning.startswith("TensorBoard is not told about this training: ")
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [warning]


def test_a_disk_that_fills_up_and_empties_leaves_a_file_with_everything(
    make_journal: Callable[..., Journal],
    make_epoch: Callable[..., Epoch],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tensorboardX.record_writer import RecordWriter  # noqa: PLC0415 - loads torch

    whole, full = RecordWriter.write, threading.Event()

    def write(self: Any, data: bytes) -> None:
        if full.is_set():
            self._writer.write(data[:5])
            raise OSError(28, "No space left on device")
        whole(self, data)

    monkeypatch.setattr(RecordWriter, "write", write)
    monkeypatch.setattr(courier, "PAUSE", 0.0)
    monkeypatch.setattr(courier, "RETRY", 0.1)
    journal = make_journal()
    journal.epoch(make_epoch(1))
    wait_until(lambda: bool(event_files(store)))
    full.set()
    journal.epoch(make_epoch(2))
    wait_until(lambda: bool(journal.warnings))
    full.clear()
    journal.epoch(make_epoch(3))
    journal.close("finished")
    assert scalars(event_files(store))["metrics/mAP50"] == pytest.approx({1: 0.1, 2: 0.2, 3: 0.3})
    assert len(journal.warnings) == 1


@pytest.mark.slow
def test_writing_event_files_does_not_load_torch_and_leaves_the_package_whole(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from components.model_train.journal.tensorboard import EventFiles
from components.model_train.story import Epoch
from components.shared.store import open_store
files = EventFiles(open_store({(tmp_path / "store").as_uri()!r}), "events", Path({str(tmp_path / "events")!r}))
files.write([Epoch(number=1, seconds=1.0, values={{"map50": 0.5}})])
files.close("finished")
assert "torch" not in sys.modules
from tensorboardX import RecordWriter, SummaryWriter
from tensorboardX.record_writer import RecordWriter as same
assert RecordWriter is same
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert len(list((tmp_path / "store" / "events").iterdir())) == 1


def test_a_run_whose_name_is_no_key_is_warned_of_and_never_raises(
    make_journal: Callable[..., Journal], make_epoch: Callable[..., Epoch]
) -> None:
    journal = make_journal(run_id="../r1")
    journal.epoch(make_epoch(1))
    journal.close("finished")
    assert len(journal.warnings) == 2


@pytest.mark.parametrize(("end", "closing", "hurry"), [("finished", 0.2, 600.0), ("preempted", 600.0, 0.2)])
def test_a_slow_receiver_holds_up_neither_an_epoch_nor_another_receiver_nor_the_end(
    make_epoch: Callable[..., Epoch],
    make_journal: Callable[..., Journal],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    end: End,
    closing: float,
    hurry: float,
) -> None:
    answer, store = threading.Event(), open_store((tmp_path / "slow").as_uri())
    answered: list[bool] = []
    monkeypatch.setattr(type(store), "upload", lambda *_: answered.append(answer.wait()))
    monkeypatch.setattr("components.model_train.journal.CLOSING", closing)
    monkeypatch.setattr("components.model_train.journal.HURRY", hurry)
    journal = make_journal(keep=store)
    for number in range(1, 51):
        journal.epoch(make_epoch(number))
    journal.close(end)  # waiting for an answer would last for ever, the other kind of end's limit 600 seconds
    assert not answered
    assert "TensorBoard did not answer in time" in caplog.text
    wait_until(lambda: store.exists(JSONL) and len(lines(store)) == 50)
    assert not answered
    answer.set()
    assert len(lines(store)) == 50


class Recorder:
    label = "The recorder"

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.attempts = 0
        self.told: list[list[int]] = []
        self.ends: list[End] = []

    def write(self, epochs: Sequence[Epoch]) -> None:
        self.attempts += 1
        if self.attempts <= self.failures:
            raise StoreError("https://user:secret@example.org/ is away.")
        self.told.append([epoch.number for epoch in epochs])

    def close(self, end: End) -> None:
        self.ends.append(end)


def test_what_is_told_during_the_first_delivery_is_delivered_before_the_end(make_epoch: Callable[..., Epoch]) -> None:
    class Slow(Recorder):
        def write(self, epochs: Sequence[Epoch]) -> None:
            super().write(epochs)
            ended.wait(10)

    receiver, ended = Slow(), threading.Event()
    each = Courier(receiver, lambda _: None)
    each.begin()
    wait_until(lambda: receiver.attempts > 0)
    each.tell([make_epoch(1)])
    each.end("finished")
    ended.set()
    assert each.wait(10)
    assert receiver.told == [[], [1]]
    assert receiver.ends == ["finished"]


@pytest.mark.parametrize("failures", [0, 9])
def test_once_it_is_given_up_it_says_nothing_more(failures: int, caplog: pytest.LogCaptureFixture) -> None:
    class Late(Recorder):
        def write(self, epochs: Sequence[Epoch]) -> None:
            answer.wait(10)
            super().write(epochs)

    receiver, answer, warnings = Late(failures=failures), threading.Event(), list[str]()
    each = Courier(receiver, warnings.append)
    caplog.set_level(logging.INFO)
    each.begin()
    each.end("finished")
    assert not each.wait(0.01)
    answer.set()
    wait_until(lambda: receiver.ends == ["finished"])
    assert warnings == []
    assert caplog.messages == []


def test_of_a_receiver_that_fails_nothing_is_said_when_it_is_late_too(
    make_journal: Callable[..., Journal],
    make_epoch: Callable[..., Epoch],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = threading.Event()

    def upload(*_: object) -> None:
        if journal.warnings:
            answer.wait(10)
        raise StoreError("it is away.")

    monkeypatch.setattr(type(store), "upload", upload)
    monkeypatch.setattr("components.model_train.journal.CLOSING", 1.0)
    journal = make_journal()
    journal.epoch(make_epoch(1))
    wait_until(lambda: bool(journal.warnings))
    journal.close("finished")
    answer.set()
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == journal.warnings
    assert len(journal.warnings) == 1


def test_a_receiver_that_was_away_gets_everything_at_the_end_after_one_warning_without_its_credentials(
    make_epoch: Callable[..., Epoch],
) -> None:
    receiver, warnings = Recorder(failures=1), list[str]()
    each = Courier(receiver, warnings.append)
    each.begin()
    each.tell([make_epoch(1)])
    each.tell([make_epoch(1), make_epoch(2)])
    each.end("preempted")
    assert each.wait(5)
    assert receiver.told == [[1, 2]]
    assert receiver.ends == ["preempted"]
    (warning,) = warnings
    assert warning == (
        "The recorder is not told about this training: https://***@example.org/ is away. "
        "The training goes on; it is tried again now and then."
    )


def test_a_receiver_that_stays_away_is_tried_now_and_then_only(
    make_epoch: Callable[..., Epoch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "PAUSE", 0.0)
    monkeypatch.setattr(courier, "RETRY", 0.2)
    receiver, warnings = Recorder(failures=999), list[str]()
    each = Courier(receiver, warnings.append)
    each.begin()
    began = time.monotonic()
    for number in range(1, 101):
        each.tell([make_epoch(number)])
        time.sleep(0.01)
    each.end("finished")
    assert each.wait(5)
    assert 2 <= receiver.attempts <= 2 + (time.monotonic() - began) / 0.2
    assert len(warnings) == 1


def test_it_is_delivered_without_a_new_epoch_once_the_receiver_is_back(
    make_epoch: Callable[..., Epoch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "RETRY", 0.1)
    receiver = Recorder(failures=2)
    each = Courier(receiver, lambda _: None)
    each.tell([make_epoch(1)])
    each.begin()
    wait_until(lambda: bool(receiver.told))
    assert receiver.told == [[1]]
    each.end("finished")
    assert each.wait(5)


def test_where_no_thread_can_be_had_the_training_goes_on(
    make_journal: Callable[..., Journal], make_epoch: Callable[..., Epoch], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    journal = make_journal()
    journal.epoch(make_epoch(1))
    journal.close("finished")
    assert len(journal.warnings) == 2


def test_closing_twice_and_telling_more_after_it_is_harmless(
    make_journal: Callable[..., Journal], make_epoch: Callable[..., Epoch], store: Store
) -> None:
    journal = make_journal()
    journal.epoch(make_epoch(1))
    journal.close("finished")
    journal.epoch(make_epoch(2))
    journal.close("finished")
    assert [line["number"] for line in lines(store)] == [1]


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("train/box_loss", "loss/train/box"),
        ("val/loss_rpn_box_reg", "loss/val/rpn_box_reg"),
        ("map50_95", "metrics/mAP50-95"),
        ("recall", "metrics/recall"),
        ("lr/pg0", "lr/pg0"),
        ("time left (s)", "time left _s_"),
        ("/absolute/", "absolute"),
    ],
)
def test_a_value_is_called_by_its_group(name: str, tag: str) -> None:
    assert grouped(name) == tag
