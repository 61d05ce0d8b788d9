"""A signal is heard whatever the main thread does, and nothing of the hearing stays behind."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import components
from components.model_train.saving.preemption import Preemption, usable

MakePreemption = Callable[..., Preemption]


def nothing() -> None:
    pass


def make(grace: float = 30.0, **hooks: Any) -> Preemption:
    return Preemption(grace, **{"told": nothing, "saved": lambda: False, "last_words": nothing, **hooks})


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        assert signal.getsignal(number) is handler, "the handlers from before are back"
        signal.signal(number, handler)


def wait_until(happened: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_is_told_and_the_block_goes_on(number: int) -> None:
    told = threading.Event()
    with make(told=told.set) as preemption:
        assert preemption.reason == ""
        os.kill(os.getpid(), number)
        assert told.wait(5)
        assert preemption.reason == "Told to end"
        assert time.monotonic() + 20 < preemption.until < time.monotonic() + 30


def test_it_is_told_while_the_main_thread_is_in_a_long_call() -> None:
    moments: list[float] = []
    with make(told=lambda: moments.append(time.monotonic())):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        began = time.monotonic()
        while not moments:
            hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**6)
            back = time.monotonic()
    assert moments[0] - began >= 0.1
    assert moments[0] < back


def test_a_second_sigint_interrupts() -> None:
    told = threading.Event()

    def interrupt_twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert told.wait(5)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    with pytest.raises(KeyboardInterrupt), make(told=told.set):
        interrupt_twice()


def test_a_second_sigterm_changes_nothing() -> None:
    count: list[int] = []
    with make(told=lambda: count.append(1)):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: count)
        time.sleep(0.1)
    assert count == [1]


def test_an_ignored_sigint_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with make() as preemption:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            assert preemption.reason == ""
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_signal_is_none_of_its_business() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        with make() as preemption:
            os.kill(os.getpid(), signal.SIGUSR1)
            wait_until(lambda: heard)
            time.sleep(0.1)
            assert preemption.reason == ""
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_outside_of_the_main_thread_it_hears_nothing_and_does_no_harm() -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with make():
                pass
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failures == []


def test_a_signal_that_was_blocked_before_is_let_through() -> None:
    told = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    with make(told=told.set):
        assert told.wait(5)


def test_a_forked_process_has_the_handlers_from_before_and_is_not_heard() -> None:
    with make() as preemption:
        child = os.fork()
        if child == 0:
            time.sleep(10)
            os._exit(0)
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        time.sleep(0.1)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
        assert preemption.reason == ""


def test_leaving_waits_for_no_forked_process() -> None:
    preemption = make()
    with preemption:
        child = os.fork()
        if child == 0:
            time.sleep(5)
            os._exit(0)
        left = time.monotonic()
    assert time.monotonic() - left < 0.5
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_no_thread_or_descriptor_is_left() -> None:
    with make():
        pass
    threads, descriptors = threading.active_count(), open_files()
    for _ in range(5):
        with make():
            pass
    assert (threading.active_count(), open_files()) == (threads, descriptors)


@pytest.mark.parametrize("grace", [0.0, 1.0, 10.0, 30.0, 600.0])
def test_a_part_of_the_grace_is_left_to_others(grace: float) -> None:
    assert 0 <= usable(grace) <= grace
    assert grace - usable(grace) <= 6.0


SCRIPT = """
import sys, time, threading, hashlib
from components.model_train.saving.preemption import Preemption
saved = sys.argv[1] == "saved"
with Preemption(float(sys.argv[2]), told=lambda: print("told", flush=True), saved=lambda: saved,
                last_words=lambda: (print("last words", flush=True), time.sleep(float(sys.argv[3])))):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**9)
"""


def ended(saved: str, grace: float, speech: float = 0.0) -> tuple[int, float, str]:
    root = str(Path(components.__file__).parent.parent)
    command = [sys.executable, "-c", SCRIPT, saved, str(grace), str(speech)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=60)
    seconds = time.monotonic() - began
    return code, seconds, process.stdout.read()


@pytest.mark.slow
def test_a_call_that_does_not_come_back_is_ended_with_last_words_when_the_time_is_over() -> None:
    code, seconds, said = ended("unsaved", 6.0)
    assert (code, said) == (75, "told\nlast words\n")
    assert usable(6.0) <= seconds < 6.0


@pytest.mark.slow
def test_it_is_ended_sooner_when_all_is_saved() -> None:
    code, seconds, _ = ended("saved", 60.0)
    assert code == 75
    assert 5 <= seconds < 10


@pytest.mark.slow
def test_last_words_that_hang_do_not_keep_it() -> None:
    code, seconds, _ = ended("unsaved", 5.0, speech=60.0)
    assert code == 75
    assert seconds < 5.0
