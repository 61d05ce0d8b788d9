"""What may be done with a record that breaks a rule: the one table for checks, documentation and advice."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from components.shared.errors import ConfigError
from components.shared.ledger import Rule

_CUTOFF = 0.6  # how alike a name must be to be suggested


class Choice(StrEnum):
    """What a person may ask for when a rule is broken."""

    FIX = "fix"
    REJECT = "reject"
    KEEP = "keep"


@dataclass(frozen=True)
class Handling:
    """What can be done about one rule.

    Attributes:
        default: what is done when nobody says otherwise.
        choices: each allowed choice and what it does, in words.
    """

    default: Choice
    choices: Mapping[Choice, str]


CONFLICTING_DUPLICATE = "conflicting duplicate"
HANDLING: dict[str, Handling] = {
    Rule.MISSING_IMAGE.value: Handling(
        Choice.REJECT, {Choice.REJECT: "The image is rejected with its annotations: there are no pixels."}
    ),
    Rule.UNREADABLE_IMAGE.value: Handling(
        Choice.REJECT, {Choice.REJECT: "The image is rejected with its annotations: no trainer can open it."}
    ),
    Rule.TINY_IMAGE.value: Handling(
        Choice.REJECT,
        {
            Choice.REJECT: "An image with a side shorter than 10 pixels is rejected with its annotations.",
            Choice.KEEP: "It stays; most trainers pass over it silently.",
        },
    ),
    Rule.SIZE_MISMATCH.value: Handling(
        Choice.FIX,
        {
            Choice.FIX: "Boxes are scaled or turned to the real size where they prove it, else left as they are.",
            Choice.KEEP: "Every box is left as it is.",
            Choice.REJECT: "An image whose declared size is not its real one is rejected with its annotations.",
        },
    ),
    Rule.UNKNOWN_CATEGORY.value: Handling(
        Choice.REJECT, {Choice.REJECT: "The annotation is rejected; unknown_classes says whether it stops the run."}
    ),
    Rule.NON_FINITE.value: Handling(Choice.REJECT, {Choice.REJECT: "The annotation is rejected: it has no place."}),
    Rule.ZERO_AREA.value: Handling(
        Choice.REJECT,
        {
            Choice.REJECT: "The annotation is rejected.",
            Choice.FIX: "A negative side is turned round, one of no length grown to min_box_size (at least 1 pixel).",
        },
    ),
    Rule.OUTSIDE.value: Handling(
        Choice.REJECT,
        {
            Choice.REJECT: "The annotation is rejected.",
            Choice.KEEP: "It stays in the tables as it is; label files never show it.",
        },
    ),
    Rule.TOO_SMALL.value: Handling(
        Choice.REJECT,
        {
            Choice.REJECT: "The annotation is rejected.",
            Choice.FIX: "The box grows around its centre to min_box_size, inside the image.",
            Choice.KEEP: "It stays as small as it is.",
        },
    ),
    Rule.CLIPPED.value: Handling(
        Choice.FIX,
        {
            Choice.FIX: "The box is cut at the image's edge.",
            Choice.REJECT: "A box that reaches beyond the image is rejected.",
            Choice.KEEP: "It stays in the tables as it is; label files show the part inside.",
        },
    ),
    Rule.DUPLICATE_ANNOTATION.value: Handling(
        Choice.REJECT,
        {Choice.REJECT: "The first stays, its repetitions are rejected.", Choice.KEEP: "All of them stay."},
    ),
    Rule.DUPLICATE_IMAGE.value: Handling(
        Choice.REJECT,
        {
            Choice.REJECT: "Of images with the same bytes and the same annotations the first stays.",
            Choice.KEEP: "All of them stay, in one split.",
        },
    ),
    CONFLICTING_DUPLICATE: Handling(
        Choice.KEEP,
        {
            Choice.KEEP: "Images with the same bytes and other annotations all stay, in one split.",
            Choice.FIX: "Their annotations are merged onto the first image; what both have counts once.",
            Choice.REJECT: "The first stays, the others are rejected with their annotations.",
        },
    ),
}


def resolve_rules(wishes: Mapping[str, str]) -> dict[str, Choice]:
    """The choice for every rule of ``HANDLING``: the default, or what ``wishes`` says.

    Args:
        wishes: rule -> choice; rules may be written with spaces, dashes or underscores, in any case.

    Raises:
        ConfigError: a rule is unknown or named twice, or the choice makes no sense for it; says what is allowed.
    """
    chosen: dict[str, Choice] = {}
    for written, wish in wishes.items():
        rule = _rule(written)
        if rule in chosen:
            raise ConfigError(f"rules has {rule!r} twice, the second time as {written!r}: write it once.")
        chosen[rule] = _choice(rule, wish)
    return {rule: chosen.get(rule, handling.default) for rule, handling in HANDLING.items()}


def describe_rules() -> list[tuple[str, str, str]]:
    """One row a rule: its name, its choices with the default first, and what each does, in words."""
    rows = []
    for rule, handling in HANDLING.items():
        ordered = sorted(handling.choices, key=lambda choice: choice != handling.default)
        words = " ".join(f"{choice.value}: {handling.choices[choice]}" for choice in ordered)
        rows.append((rule, ", ".join(ordered), words))
    return rows


def _rule(written: str) -> str:
    name = _plain(written)
    known = {_plain(rule): rule for rule in HANDLING}
    if name in known:
        return known[name]
    fixed = {_plain(rule.value) for rule in Rule}
    if name in fixed:
        raise ConfigError(
            f"rules has {written!r}, which cannot be switched: it is no rule of the preparation. "
            f"Those that can be: {_listed(HANDLING)}."
        )
    near = difflib.get_close_matches(name, known, n=1, cutoff=_CUTOFF)
    hint = f"did you mean {known[near[0]]!r}? All rules" if near else "the rules"
    raise ConfigError(f"rules has {written!r}, which is no rule: {hint} are {_listed(HANDLING)}.")


def _choice(rule: str, wish: str) -> Choice:
    allowed = HANDLING[rule].choices
    name = str(wish).strip().casefold()
    for choice in allowed:
        if choice.value == name:
            return choice
    near = difflib.get_close_matches(name, [choice.value for choice in allowed], n=1, cutoff=_CUTOFF)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    only = "only be" if len(allowed) == 1 else "be"
    raise ConfigError(f"rules has {rule!r}: {wish!r}; for this rule it can {only} {_listed(allowed)}.{hint}")


def _plain(name: str) -> str:
    return " ".join(name.replace("-", " ").replace("_", " ").casefold().split())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(str(name)) for name in names)
