"""The processes of one training and what they tell each other; a training in one process is a group of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from components.shared.errors import TrainingError

_PATIENCE = timedelta(minutes=60)  # the first process writes pictures and checkpoints while the others wait


@dataclass(frozen=True)
class Ranks:
    """This process among those of its training.

    Attributes:
        rank: its number from 0; the first one validates, saves and reports.
        world: how many there are.
        local: its number on this machine.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls) -> "Ranks":
        """As the launcher says it in ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``; one process without it.

        Raises:
            TrainingError: the variables contradict each other.
        """
        try:
            world = int(os.environ.get("WORLD_SIZE", "1"))
            if world <= 1:
                return cls()
            ranks = cls(int(os.environ["RANK"]), world, int(os.environ["LOCAL_RANK"]))
        except (KeyError, ValueError) as error:
            raise TrainingError(f"WORLD_SIZE is set, but RANK and LOCAL_RANK are not both numbers: {error}.") from error
        if not 0 <= ranks.rank < world:
            raise TrainingError(f"RANK={ranks.rank} is not below WORLD_SIZE={world}.")
        return ranks

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks for all."""
        return self.rank == 0

    @contextmanager
    def joined(self, *, gpu: bool) -> Iterator[None]:
        """Meet the others, and part at the end."""
        if self.world == 1:
            yield
            return
        from torch import distributed  # noqa: PLC0415 - heavy

        distributed.init_process_group("nccl" if gpu else "gloo", timeout=_PATIENCE)
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def gather(self, value: Any) -> list[Any]:  # noqa: ANN401 - whatever can be sent
        """Every process's value, by rank, in each of them."""
        if self.world == 1:
            return [value]
        from torch import distributed  # noqa: PLC0415 - heavy

        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def from_first(self, value: Any) -> Any:  # noqa: ANN401 - same
        """The first process's value, in each of them."""
        if self.world == 1:
            return value
        from torch import distributed  # noqa: PLC0415 - heavy

        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def equalise(self, model: Any) -> None:  # noqa: ANN401 - torch is untyped here
        """Give every process's model the first one's weights and statistics."""
        if self.world == 1:
            return
        from torch import distributed  # noqa: PLC0415 - heavy

        for tensor in model.state_dict().values():
            distributed.broadcast(tensor, src=0)
