"""Which of the classes that weights know are the classes a training wants."""

from collections.abc import Sequence


def match_classes(known: Sequence[str], wanted: Sequence[str]) -> tuple[int | None, ...]:
    """For each wanted class the index of the known one of its name, or ``None``.

    A name that is the same letter for letter comes first, then one that differs in case or outer spaces only; of equal
    names, the first.
    """
    exact = {name: index for index, name in reversed(tuple(enumerate(known)))}
    loose = {name.strip().casefold(): index for index, name in reversed(tuple(enumerate(known)))}
    return tuple(exact.get(name, loose.get(name.strip().casefold())) for name in wanted)
