"""The epochs of a training as one JSON object a line, in the store; NaN is the text ``"NaN"``."""

from collections.abc import Sequence

from pydantic import ValidationError

from components.model_train.story import End, Epoch
from components.shared.errors import NotFoundError
from components.shared.store import Store


class EpochsFile:
    """Writes the object whole each time; an earlier attempt's epochs, from before the first one told here, stay.

    Args:
        store: holds it.
        key: where it lies.
    """

    label = "The epochs' file in the store"

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._earlier: list[Epoch] | None = None
        self._written = b""

    def write(self, epochs: Sequence[Epoch]) -> None:
        """Keep all epochs so far.

        Raises:
            StoreError: the store cannot be read or written.
        """
        if not epochs:
            return
        if self._earlier is None:
            self._earlier = self._read()
        earlier = [epoch for epoch in self._earlier if epoch.number < epochs[0].number]
        data = b"".join(epoch.model_dump_json().encode() + b"\n" for epoch in (*earlier, *epochs))
        if data != self._written:
            self._store.write(self._key, data)
            self._written = data

    def close(self, end: End) -> None:
        """Nothing is left to do."""
        del end

    def _read(self) -> list[Epoch]:
        try:
            lines = self._store.read(self._key).splitlines()
            return [Epoch.model_validate_json(line) for line in lines]
        except (NotFoundError, ValidationError):
            return []
