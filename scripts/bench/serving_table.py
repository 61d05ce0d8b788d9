"""What the bench of the service tells: medians of the rounds with their range, the ratios, and the goals."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serving_contestants import Run

GOALS = {"throughput": 2.0, "throughput, weights": 1.0}
MOST_START = 2.0  # seconds
MOST_MEMORY = 1 / 3  # of what the service takes with the weights
_BARE = ("bare", "bare, all cores")
_KINDS: dict[str, Callable[[Run], float]] = {
    "images/s": lambda run: run.images / run.seconds,
    "p50 ms": lambda run: run.p50 * 1e3,
    "p95 ms": lambda run: run.p95 * 1e3,
    "CPU ms": lambda run: run.cpu / run.images * 1e3,
    "RSS MiB": lambda run: run.memory,
    "PSS MiB": lambda run: run.shared,
    "start s": lambda run: run.start,
}

Spread = dict[str, float]


def compare(rounds: Sequence[Mapping[str, Run]]) -> dict[str, Any]:
    """Medians and ranges over the rounds of each contestant and of the ratios, which are taken round by round.

    The bare library is whichever of its two is better in a round; the service is asked by several clients.
    """
    names = list(rounds[0])
    found: dict[str, Any] = {
        "contestants": {
            name: {kind: spread([read(each[name]) for each in rounds]) for kind, read in _KINDS.items()}
            for name in names
        }
    }
    several = {kind: _several(names, kind) for kind in ("service", "service, weights")}
    found["ratios"] = {
        "throughput": spread([_faster(each, several["service"]) for each in rounds]),
        "throughput, weights": spread([_faster(each, several["service, weights"]) for each in rounds]),
        "CPU time": spread([_leaner(each, several["service"]) for each in rounds]),
        "CPU time, weights": spread([_leaner(each, several["service, weights"]) for each in rounds]),
        "memory": spread(
            [each[several["service"]].memory / each[several["service, weights"]].memory for each in rounds]
        ),
    }
    return found


def spread(values: Sequence[float]) -> Spread:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def verdicts(found: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Each goal: whether it is met, and the sentence."""
    ratios, service = found["ratios"], _several(list(found["contestants"]), "service")
    start = found["contestants"][service]["start s"]["median"]
    memory = ratios["memory"]["median"]
    met = [
        (ratios[name]["median"] >= goal, f"{name}: {_ratio(ratios[name])} of the bare library (goal {goal:g})")
        for name, goal in GOALS.items()
    ]
    return [
        *met,
        (start <= MOST_START, f"start: {start:.1f} s (goal {MOST_START:g} s)"),
        (memory <= MOST_MEMORY, f"memory: {memory:.2f} of the service with the weights (goal {MOST_MEMORY:.2f})"),
    ]


def show(found: Mapping[str, Any]) -> None:
    """Print the comparison for a person."""
    print(f"{found['images']} photographs a round, served on the CPU by {found['runtime']}; median (least to most)\n")
    width = max(map(len, found["contestants"])) + 2
    print(" " * width + "".join(f"{kind:>26}" for kind in _KINDS))
    for name, measured in found["contestants"].items():
        print(f"{name:<{width}}" + "".join(f"{_cell(measured[kind]):>26}" for kind in _KINDS))
    print()
    for name in ("CPU time", "CPU time, weights"):
        print(f"  {name} of an image, bare library / service: {_ratio(found['ratios'][name])}")
    for good, sentence in verdicts(found):
        print(f"{'✓' if good else '✗'} {sentence}")


def _several(names: Sequence[str], kind: str) -> str:
    """The way of asking a service that has the most clients."""
    return [name for name in names if name.startswith(f"{kind}, ") and name.removeprefix(f"{kind}, ")[0].isdigit()][-1]


def _faster(each: Mapping[str, Run], name: str) -> float:
    rate = _KINDS["images/s"]
    return rate(each[name]) / max(rate(each[bare]) for bare in _BARE)


def _leaner(each: Mapping[str, Run], name: str) -> float:
    cost = _KINDS["CPU ms"]
    return min(cost(each[bare]) for bare in _BARE) / cost(each[name])


def _cell(found: Spread) -> str:
    digits = 1 if found["median"] < 1000 else 0  # noqa: PLR2004 - no tenths beside thousands
    median, least, most = (f"{found[key]:.{digits}f}" for key in ("median", "least", "most"))
    return f"{median} ({least} to {most})"


def _ratio(found: Spread) -> str:
    return f"{found['median']:.2f} ({found['least']:.2f} to {found['most']:.2f})"
