"""Finds on disk the images that annotations name by a path that may start somewhere else."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from components.shared.formats.names import below_images, folder_of, join
from components.shared.formats.tree import Tree

_FOLDERS = ("", "images", "JPEGImages", "data")
_HASHED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before an upload's name


class ImageFinder:
    """Finds files by the longest tail of a path that is theirs; an ambiguous path finds none."""

    def __init__(self, tree: Tree, wanted: Iterable[str]) -> None:
        """``wanted``: every path that will be asked for, to know which file names stand for one image only."""
        self._tree = tree
        self._uses = Counter(unquote(path).rpartition("/")[2] for path in set(wanted))

    def find(self, path: str, home: str = "") -> str | None:
        """Path below the source of the file that ``path`` means, said in the folder ``home``; ``None``: it has none."""
        for candidate in dict.fromkeys((path, unquote(path))):
            for place in _places(home):
                if join(place, candidate) in self._tree.files:
                    return join(place, candidate)
            found = self._by_tail(candidate)
            if found is not None:
                return found
        return None

    def _by_tail(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        for wanted in dict.fromkeys((name, _HASHED.sub("", name, count=1))):
            same = self._tree.by_name.get(wanted, ())
            shared = {found: _shared_tail(folder, folder_of(found)) for found in same}
            best = [found for found in same if shared[found] == max(shared.values())]
            # A name alone says which file it is only where one path and one file have it.
            if len(best) == 1 and (shared[best[0]] or (len(same) == 1 and self._uses[unquote(name)] == 1)):
                return best[0]
        return None


def shown(path: str) -> str:
    """The name of the image at this path of a source: what is below its image folder."""
    inside = below_images(path)
    return inside[1] if inside else path


def _places(home: str) -> Iterator[str]:
    for base in dict.fromkeys((home, folder_of(home), "")):
        for folder in _FOLDERS:
            yield join(base, folder)


def _shared_tail(one: str, other: str) -> int:
    count = 0
    for mine, theirs in zip(reversed(one.split("/")), reversed(other.split("/")), strict=False):
        if mine != theirs or not mine:
            break
        count += 1
    return count
