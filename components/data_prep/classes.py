"""Which class an annotation belongs to once names are aliased and the target classes are chosen."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from components.shared.errors import ConfigError, DataQualityError

UNKNOWN = ("ignore", "add", "stop")
_NAMED = 10  # classes an error names


@dataclass(frozen=True)
class ClassWishes:
    """What a person wants done with the classes.

    Attributes:
        aliases: name -> class, applied once (an alias of an alias is not followed, so two classes can swap names).
        targets: classes to keep; none means all.
        drops: classes to leave out.
        unknown: what to do with a name the source does not declare: ``ignore`` (its annotations are rejected),
            ``add`` (it becomes a class, after those declared, by name) or ``stop``.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    unknown: str = "ignore"

    def check(self) -> None:
        """Refuse what makes no sense for any dataset.

        Raises:
            ConfigError: an alias or its class is empty, a class is both a target and dropped, ``unknown`` is no choice.
        """
        for alias, target in self.aliases.items():
            if not alias.strip() or not target.strip():
                raise ConfigError(f"class_aliases has {alias!r}: {target!r}; give both the alias and its class a name.")
        if self.unknown not in UNKNOWN:
            raise ConfigError(f"unknown_classes is {self.unknown!r}; use one of {', '.join(UNKNOWN)}.")
        dropped = {_fold(name): name for name in self.drops}
        _refuse_both(name for name in self.targets if _fold(name) in dropped)


@dataclass(frozen=True)
class ClassPlan:
    """How the categories of the source become the classes of the prepared dataset.

    Attributes:
        classes: class names that are kept, in the source's order; the index is the class id in training.
        mapping: category as found -> class, for every category that belongs to one, kept or not.
        renamed: category as found -> class, where the two differ.
        unused_aliases: aliases that no class and no category of the source has.
        added: classes the source does not declare and that were asked for with ``add``.
    """

    classes: tuple[str, ...]
    mapping: dict[str, str]
    renamed: dict[str, str]
    unused_aliases: tuple[str, ...]
    added: tuple[str, ...] = ()


def plan_classes(found: Sequence[str], categories: Iterable[str], wishes: ClassWishes) -> ClassPlan:
    """Decide the class of each category; a name is looked up as it is first, then without case and outer spaces.

    Args:
        found: classes the source declares, in its order.
        categories: names the annotations carry; one that belongs to no class is left out of ``mapping``.
        wishes: what to rename, keep, leave out and add. A dropped name counts as known.

    Raises:
        ConfigError: the wishes make no sense, contradict each other or name a class that does not exist.
    """
    wishes.check()
    names = sorted(set(categories))
    rename = _Lookup(wishes.aliases)
    aliased = [name for name in (*found, *names) if rename.find(name) is not None]
    every = dict.fromkeys(
        [rename.find(name) or name for name in found] + [rename.find(name) or name for name in aliased]
    )
    known = _Lookup({name: name for name in every})
    # Strays that differ only in case or outer spaces are one class.
    strays = {_fold(name): name for name in reversed(names) if known.find(rename.find(name) or name) is None}
    dropped = {_fold(name) for name in wishes.drops}
    added = sorted(name for folded, name in strays.items() if wishes.unknown == "add" or folded in dropped)
    known = _Lookup({name: name for name in (*every, *added)})
    resolved = {name: known.find(rename.find(name) or name) for name in dict.fromkeys((*found, *names))}
    mapping = {name: target for name, target in resolved.items() if target is not None}
    used = {alias for alias in wishes.aliases if any(rename.matches(alias, name) for name in aliased)}
    return ClassPlan(
        classes=_choose((*every, *added), wishes, known, rename),
        mapping=mapping,
        renamed={name: target for name, target in mapping.items() if name != target},
        unused_aliases=tuple(alias for alias in wishes.aliases if alias not in used),
        added=tuple(added) if wishes.unknown == "add" else (),
    )


def stop_at_unknown(annotations: pl.DataFrame, plan: ClassPlan) -> None:
    """Stop when an annotation's class is named but is none of the dataset's.

    Raises:
        DataQualityError: with the names and how many annotations have them.
    """
    names = annotations.get_column("category").drop_nulls()
    unknown = names.filter(~names.is_in(list(plan.mapping)))
    if unknown.is_empty():
        return
    counts = unknown.value_counts(sort=True).sort("count", "category", descending=[True, False])
    more = f" and {counts.height - _NAMED} more" if counts.height > _NAMED else ""
    shown = ", ".join(f"{name!r} ({count})" for name, count in counts.head(_NAMED).iter_rows())
    raise DataQualityError(
        f"{unknown.len()} annotations have classes the source does not declare: {shown}{more}. Declare them, map them "
        "with class_aliases, name them in drop_classes, or set unknown_classes to 'add' or 'ignore'."
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


def _refuse_both(names: Iterable[str]) -> None:
    both = sorted(set(names))
    if both:
        shown = ", ".join(repr(name) for name in both)
        raise ConfigError(f"{shown} is in target_classes and in drop_classes: take it out of one of them.")


def _choose(every: tuple[str, ...], wishes: ClassWishes, known: _Lookup, rename: _Lookup) -> tuple[str, ...]:
    targets = {_existing("target_classes", name, every, known, rename) for name in wishes.targets}
    drops = {_existing("drop_classes", name, every, known, rename) for name in wishes.drops}
    _refuse_both(targets & drops)
    chosen = tuple(name for name in every if name in (targets or every) and name not in drops)
    if drops and not chosen:
        raise ConfigError(f"drop_classes has all {len(every)} classes of the dataset: leave at least one.")
    return chosen


def _existing(option: str, wanted: str, every: tuple[str, ...], known: _Lookup, rename: _Lookup) -> str:
    name = known.find(wanted) or known.find(rename.find(wanted) or wanted)
    if name is not None:
        return name
    near = difflib.get_close_matches(_fold(wanted), [_fold(each) for each in every], n=1)
    if near:
        suggestion = next(each for each in every if _fold(each) == near[0])
        raise ConfigError(f"{option} has {wanted!r}, which the dataset has not: did you mean {suggestion!r}?")
    shown = ", ".join(repr(each) for each in every[:_NAMED]) + (", ..." if len(every) > _NAMED else "")
    raise ConfigError(f"{option} has {wanted!r}, which the dataset has not: its classes are {shown or 'none'}.")
