"""What the doctor found, and how checks run side by side without one that hangs holding up the others."""

import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from components.shared.errors import PipelineError, in_one_line

State = Literal["ok", "warning", "problem"]
_MOST = 300  # characters of an error that no check expected
_ORDERS = "add|ask|check|choose|create|give|install|log|look|mend|name|put|run|say|set|try|use|wait|write"
_PARTS = re.compile(rf"^(.*)[:;] ((?:{_ORDERS})\b.*)$", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
        name: what was looked at.
        state: ``problem`` when it will break a run, ``warning`` when it may, or could not be looked at.
        text: what was found.
        fix: what to do about it.
    """

    name: str
    state: State
    text: str
    fix: str = ""

    def summary(self) -> dict[str, str]:
        """The same as JSON-able values."""
        return asdict(self)


@dataclass(frozen=True)
class Check:
    """Something to look at.

    Attributes:
        name: what its findings are called when it finds none itself.
        look: gives its findings; an error of ours is one, too.
        unable: what it means when it cannot be looked at.
    """

    name: str
    look: Callable[[], Iterable[Finding]]
    unable: State = "problem"


def ok(name: str, text: str) -> Finding:
    """Nothing to do here."""
    return Finding(name, "ok", text)


def warning(name: str, text: str, fix: str = "") -> Finding:
    """It may break a run, or could not be looked at."""
    return Finding(name, "warning", text, fix)


def problem(name: str, text: str, fix: str = "") -> Finding:
    """It will break a run."""
    return Finding(name, "problem", text, fix)


def run_checks(checks: Sequence[Check], seconds: float) -> list[Finding]:
    """What all checks find, in their order; one that takes longer than ``seconds`` is left behind with a warning.

    Its thread is a daemon's: it keeps neither this function nor the end of the process waiting.
    """
    found: dict[int, list[Finding]] = {}

    def work(place: int, check: Check) -> None:
        found[place] = _looked(check)

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(checks)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = "Give it more time with --timeout, and look at the network between."
    return [
        finding
        for place, check in enumerate(checks)
        for finding in found.get(place)
        or [Finding(check.name, check.unable, f"there was no answer within {seconds:g} s", late)]
    ]


def _looked(check: Check) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check.look())  # what came before an error stays
    except PipelineError as error:
        found.append(Finding(check.name, check.unable, *_parted(str(error))))
    except Exception as error:  # noqa: BLE001 - the outermost edge of a check: the others go on
        said = f"{type(error).__name__}: {in_one_line(error, most=_MOST)}"
        fix = "Report it: this is a defect of the doctor."
        found.append(warning(check.name, f"the check itself failed ({said})", fix))
    return found or [ok(check.name, "nothing to say")]


def _parted(sentence: str) -> tuple[str, str]:
    """One of our sentences as what is wrong and what to do, which comes last."""
    parts = _PARTS.match(sentence)
    return (parts[1], f"{parts[2][0].upper()}{parts[2][1:]}") if parts else (sentence.rstrip("."), "")
