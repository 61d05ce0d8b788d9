"""How people name a dataset version: ``NAME``, ``NAME@alias``, ``NAME@version`` or ``NAME@`` and its first digits."""

import difflib
import re
from dataclasses import dataclass

from components.shared import dataset_store
from components.shared.errors import ConfigError
from components.shared.store import Store

SHORT = 12  # digits of a version that people are shown
LEAST = 6  # digits that people have to give
_DIGITS = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True)
class Reference:
    """One committed version of a dataset; ``version`` is its 64 hex digits."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version[:SHORT]}"


def find(store: Store, text: str) -> Reference:
    """The version that ``text`` means: ``cats`` is ``cats@latest``.

    Raises:
        ConfigError: ``text`` has not that form, the piece of a version is too short or fits several, or there is no
            such dataset, alias or version (near names are suggested).
    """
    name, separator, wanted = text.partition("@")
    if separator and not wanted:
        raise ConfigError(
            f"{text!r} names no version after the '@': write {name!r}, {name + '@latest'!r} or a version."
        )
    dataset_store.check_name(name)
    versions = dataset_store.versions(store, name)
    if not versions:
        raise ConfigError(_unknown_name(store, name))
    wanted = wanted or dataset_store.LATEST
    if wanted in versions:
        return Reference(name, wanted)
    aliases = dataset_store.aliases(store, name)
    if wanted in aliases:
        if aliases[wanted] not in versions:
            raise ConfigError(
                f"The alias {wanted!r} of {name!r} points to version {aliases[wanted]!r}, which is not in"
                f" {store.uri!r} any more: move it with `datasets alias`."
            )
        return Reference(name, aliases[wanted])
    return Reference(name, _by_piece(store, name, wanted, versions, tuple(aliases)))


def known_names(store: Store) -> tuple[str, ...]:
    """The datasets of a store, sorted.

    Raises:
        ConfigError: it holds none.
    """
    found = dataset_store.names(store)
    if not found:
        raise ConfigError(
            f"The store {store.uri!r} holds no dataset yet: load one with `python -m pipelines.submit --local`,"
            " or name another store with --store."
        )
    return found


def _by_piece(store: Store, name: str, piece: str, versions: tuple[str, ...], aliases: tuple[str, ...]) -> str:
    if _DIGITS.fullmatch(piece):
        fitting = [version for version in versions if version.startswith(piece)]
        if fitting and len(piece) < LEAST:
            raise ConfigError(f"{piece!r} is too short a piece of a version: give {LEAST} digits or more.")
        if len(fitting) > 1:
            shown = ", ".join(repr(version[: len(piece) + 4]) for version in fitting[:4])
            raise ConfigError(f"{piece!r} fits {len(fitting)} versions of {name!r} ({shown}): give more digits.")
        if fitting:
            return fitting[0]
    near = difflib.get_close_matches(piece, aliases, n=1)
    shown = ", ".join(version[:SHORT] for version in versions[:4])
    hint = f"did you mean {name + '@' + near[0]!r}?" if near else f"it has {shown}{' ...' if len(versions) > 4 else ''}"  # noqa: PLR2004 - as many as fit a line
    kind = "version" if _DIGITS.fullmatch(piece) else "alias"
    raise ConfigError(f"The dataset {name!r} has no {kind} {piece!r} in {store.uri!r}: {hint}.")


def _unknown_name(store: Store, name: str) -> str:
    names = known_names(store)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    shown = ", ".join(repr(known) for known in names[:6])
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""  # noqa: PLR2004 - as many as fit a line
    hint = f"did you mean {near[0]!r}?" if near else f"it has {shown}{more}."
    return f"There is no dataset {name!r} in {store.uri!r}: {hint}"
