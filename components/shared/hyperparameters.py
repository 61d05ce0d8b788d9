"""Check the training library's hyperparameters: known names, the right types, within bounds."""

import difflib
import math
from collections.abc import Mapping

from components.shared.errors import ConfigError
from components.shared.hyperparameters_table import EXCLUDED, OPTIONS, TORCHVISION, Option, Value

_YES, _NO = frozenset({"true", "yes", "on"}), frozenset({"false", "no", "off"})
_SHOWN = 60  # characters of a wrong value that a message repeats


def check_options(values: Mapping[str, object], *, trainer: str) -> dict[str, Value]:
    """The hyperparameters with each value as the type the library wants.

    Args:
        values: by the library's names; a value may be text (``"0.5"``, ``"true"``, ``"1e-3"``) or, for a whole number,
            a float.
        trainer: ``ultralytics`` or ``torchvision``; empty: whichever.

    Raises:
        ConfigError: a name is unknown (the near one is suggested) or cannot be set here, or a value is out of bounds;
            says so of each.
    """
    checked: dict[str, Value] = {}
    problems = []
    for name, value in values.items():
        problem = _refusal(name, trainer)
        if problem:
            problems.append(problem)
            continue
        option = OPTIONS[name]
        try:
            checked[name] = _READERS[option.kind](option, value)
        except (TypeError, ValueError, OverflowError):
            problems.append(f"hyperparameters has {name}={_short(value)}: it must be {option.bounds} ({option.help}).")
    if problems:
        raise ConfigError(" ".join(problems))
    return checked


def describe_options() -> list[tuple[str, str, str, str, str]]:
    """Name, default, help, bounds and trainers of each hyperparameter, in the order in which people read about them.

    A default that is not the same for all trainers names the one that differs: ``1.0 (torchvision: 0.0)``.
    """
    return [
        (option.name, _default(option), option.help, option.bounds, ", ".join(option.trainers))
        for option in OPTIONS.values()
    ]


def _refusal(name: str, trainer: str) -> str:
    """Why nothing can be set under this name; empty: it can."""
    if name in EXCLUDED:
        return f"hyperparameters has {name!r}, which {EXCLUDED[name]}."
    if name not in OPTIONS and name.partition(":")[0] in OPTIONS:
        return (
            f"hyperparameters has {_short(name)}, a name and its value in one: the shell took the quotes, so write"
            """ --set 'hyperparameters={"mosaic": "0.5"}'."""
        )
    if name not in OPTIONS:
        near = difflib.get_close_matches(str(name).strip().casefold(), [*OPTIONS, *EXCLUDED], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"those there are: {', '.join(OPTIONS)}."
        return f"hyperparameters has {_short(name)}, which the training library does not know; {hint}"
    if trainer and trainer not in OPTIONS[name].trainers:
        known = [option.name for option in OPTIONS.values() if trainer in option.trainers]
        return f"hyperparameters has {name!r}, which {trainer} models do not have; they have {', '.join(known)}."
    return ""


def _default(option: Option) -> str:
    usual = "unset" if option.default is None else str(option.default).lower()
    other = option.torchvision_default
    return usual if other is None else f"{usual} ({TORCHVISION}: {str(other).lower()})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _bool(_option: Option, value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _YES or (isinstance(value, str | int | float) and word in {"1", "1.0"}):
        return True
    if word in _NO or (isinstance(value, str | int | float) and word in {"0", "0.0"}):
        return False
    raise ValueError(value)


def _choice(option: Option, value: object) -> Value:
    word = str(value).strip().lower()
    if isinstance(value, str) and word in option.choices:
        return word
    return _bool(option, value)


def _float(option: Option, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(value)
    number = float(value)
    if not (math.isfinite(number) and option.least <= number <= option.most):
        raise ValueError(value)
    return number


def _int(option: Option, value: object) -> int:
    number = _float(option, value)
    if not number.is_integer():
        raise ValueError(value)
    return int(number)


_READERS = {"bool": _bool, "choice": _choice, "float": _float, "int": _int}
