"""Which class an annotation belongs to once names are aliased and the target classes are chosen."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from components.shared.errors import ConfigError


@dataclass(frozen=True)
class ClassPlan:
    """How the categories of the source become the classes of the prepared dataset.

    Attributes:
        classes: class names that are kept, in the source's order; the index is the class id in training.
        mapping: category as found -> class, for every category that belongs to one, kept or not.
        renamed: category as found -> class, where the two differ.
        unused_aliases: aliases that no class and no category of the source has.
    """

    classes: tuple[str, ...]
    mapping: dict[str, str]
    renamed: dict[str, str]
    unused_aliases: tuple[str, ...]


def plan_classes(
    found: Sequence[str], categories: Iterable[str], aliases: Mapping[str, str], targets: Sequence[str]
) -> ClassPlan:
    """Decide the class of each category; a name is looked up as it is first, then without case and outer spaces.

    Args:
        found: classes the source declares, in its order.
        categories: names the annotations carry; one that belongs to no class is left out of ``mapping``.
        aliases: name -> class, applied once (an alias of an alias is not followed, so two classes can swap names).
        targets: classes to keep; none means all.

    Raises:
        ConfigError: an alias or its class is empty, or a target class does not exist.
    """
    _check_aliases(aliases)
    names = sorted(set(categories))
    rename = _Lookup(aliases)
    aliased = [name for name in (*found, *names) if rename.find(name) is not None]
    every = dict.fromkeys(
        [rename.find(name) or name for name in found] + [rename.find(name) or name for name in aliased]
    )
    known = _Lookup({name: name for name in every})
    resolved = {name: known.find(rename.find(name) or name) for name in dict.fromkeys((*found, *names))}
    mapping = {name: target for name, target in resolved.items() if target is not None}
    used = {alias for alias in aliases if any(rename.matches(alias, name) for name in aliased)}
    return ClassPlan(
        classes=_choose(tuple(every), targets, known, rename),
        mapping=mapping,
        renamed={name: target for name, target in mapping.items() if name != target},
        unused_aliases=tuple(alias for alias in aliases if alias not in used),
    )


class _Lookup:
    """Names to values: the exact name first, else the one name that is equal without case and outer spaces."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._exact = dict(values)
        self._folded: dict[str, str] = {}
        ambiguous = set()
        for name, value in values.items():
            if self._folded.setdefault(_fold(name), value) != value:
                ambiguous.add(_fold(name))
        for name in ambiguous:
            del self._folded[name]

    def find(self, name: str) -> str | None:
        """The value for ``name``, or ``None``."""
        return self._exact.get(name, self._folded.get(_fold(name)))

    def matches(self, key: str, name: str) -> bool:
        """Whether ``key`` is what ``name`` was found by."""
        return key == name or (name not in self._exact and _fold(key) == _fold(name))


def _fold(name: str) -> str:
    return name.strip().casefold()


def _check_aliases(aliases: Mapping[str, str]) -> None:
    for alias, target in aliases.items():
        if not alias.strip() or not target.strip():
            raise ConfigError(f"class_aliases has {alias!r}: {target!r}; give both the alias and its class a name.")


def _choose(every: tuple[str, ...], targets: Sequence[str], known: _Lookup, rename: _Lookup) -> tuple[str, ...]:
    if not targets:
        return every
    chosen = {_target(target, every, known, rename) for target in targets}
    return tuple(name for name in every if name in chosen)


def _target(target: str, every: tuple[str, ...], known: _Lookup, rename: _Lookup) -> str:
    name = known.find(target) or known.find(rename.find(target) or target)
    if name is not None:
        return name
    near = difflib.get_close_matches(_fold(target), [_fold(name) for name in every], n=1)
    if near:
        suggestion = next(name for name in every if _fold(name) == near[0])
        raise ConfigError(f"target_classes has {target!r}, which the dataset has not: did you mean {suggestion!r}?")
    shown = ", ".join(repr(name) for name in every[:10]) + (", ..." if len(every) > 10 else "")  # noqa: PLR2004
    raise ConfigError(f"target_classes has {target!r}, which the dataset has not: its classes are {shown or 'none'}.")
