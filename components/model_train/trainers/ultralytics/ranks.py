"""Several processes as one training: a process group from the environment, on GPUs or on a CPU.

The launcher sets ``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT`` before Python starts,
because the training library reads the first three when it is imported. Its own launcher is not used: it deletes the
folder it is to save in, knows one machine only, and runs no callbacks in the process that started it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from components.shared.errors import TrainingError

PATIENCE = timedelta(minutes=30)  # how long one process waits for the others


@dataclass(frozen=True)
class Group:
    """This process's place among those of one training.

    Attributes:
        rank: from 0; the process 0 leads: it writes files and is watched.
        local_rank: the same among the processes of this machine.
        size: processes in all.
        local_size: processes on this machine.
    """

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and is watched."""
        return self.rank == 0

    @property
    def many(self) -> bool:
        """Whether there are other processes."""
        return self.size > 1


def this_group() -> Group:
    """What the environment says; a process on its own when it says nothing.

    Raises:
        TrainingError: the variables make no sense.
    """
    try:
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size <= 1:
            return Group()
        group = Group(
            rank=int(os.environ["RANK"]),
            local_rank=int(os.environ["LOCAL_RANK"]),
            size=size,
            local_size=int(os.environ.get("LOCAL_WORLD_SIZE", size)),
        )
    except (KeyError, ValueError) as error:
        raise TrainingError(f"WORLD_SIZE is set, but not all of RANK and LOCAL_RANK are numbers: {error}.") from error
    if not 0 <= group.rank < size or not 0 <= group.local_rank < group.local_size <= size:
        raise TrainingError(f"RANK, LOCAL_RANK and WORLD_SIZE contradict each other: {group}.")
    return group


@contextmanager
def joined(group: Group, device: str) -> Iterator[None]:
    """The block runs with the process group up; after it, when it ended well, all processes have come to its end."""
    if not group.many:
        yield
        return
    import torch  # noqa: PLC0415 - heavy
    from torch import distributed  # noqa: PLC0415 - heavy

    if device == "cpu":
        distributed.init_process_group("gloo", timeout=PATIENCE)
    else:
        own = torch.device("cuda", int(device))
        torch.cuda.set_device(own)  # or all processes would meet on the first GPU
        distributed.init_process_group("nccl", timeout=PATIENCE, device_id=own)
    yield  # after an error the group is left as it is: closing it would wait for processes that wait for this one
    distributed.barrier()
    distributed.destroy_process_group()


def wait_for_all(group: Group) -> None:
    """Return when every process has come here."""
    if group.many:
        from torch import distributed  # noqa: PLC0415 - heavy

        distributed.barrier()


def told_by_leader(group: Group, value: Any) -> Any:  # noqa: ANN401 - whatever it is, all get it
    """The leader's value, in every process."""
    if not group.many:
        return value
    from torch import distributed  # noqa: PLC0415 - heavy

    box = [value if group.leads else None]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def cpu_groups_allowed(group: Group, device: str) -> Iterator[None]:
    """Let the library wrap a model for several processes on a CPU, where torch refuses the device numbers it gives."""
    if not group.many or device != "cpu":
        yield
        return
    from torch.nn import parallel  # noqa: PLC0415 - heavy

    original = parallel.DistributedDataParallel

    class WithoutDevices(original):  # type: ignore[misc,valid-type]
        def __init__(self, module: Any, device_ids: object = None, **named: Any) -> None:  # noqa: ANN401 - torch's own
            del device_ids
            super().__init__(module, **named)

    parallel.DistributedDataParallel = WithoutDevices
    try:
        yield
    finally:
        parallel.DistributedDataParallel = original
