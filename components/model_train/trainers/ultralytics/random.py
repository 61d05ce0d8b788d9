"""Every source of random numbers a training draws from: kept, put back, or set for an epoch."""

import hashlib
import random
from collections.abc import Mapping
from typing import Any


def random_states() -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators (CPU and each GPU), as numbers and tensors."""
    import numpy as np  # noqa: PLC0415 - with torch
    import torch  # noqa: PLC0415 - heavy

    version, words, gauss = random.getstate()
    numpy: Any = np.random.get_state(legacy=True)  # noqa: NPY002 - the library draws from it
    kind, keys, position, has_gauss, cached = numpy
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(kind), torch.from_numpy(keys.astype("int64")), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Put ``random_states()`` back; where there are other GPUs now, those that both have."""
    import numpy as np  # noqa: PLC0415 - with torch
    import torch  # noqa: PLC0415 - heavy

    version, words, gauss = states["python"]
    kind, keys, position, has_gauss, cached = states["numpy"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state((kind, keys.numpy().astype("uint32"), position, has_gauss, cached))  # noqa: NPY002 - same
    torch.set_rng_state(states["torch"])
    for number, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, number)


def seed_epoch(seed: int, epoch: int, rank: int) -> int:
    """Begin an epoch of one process anew: its random numbers depend on these three alone; gives the seed used."""
    import numpy as np  # noqa: PLC0415 - with torch
    import torch  # noqa: PLC0415 - heavy

    digest = hashlib.sha256(f"{seed} {epoch} {rank}".encode()).digest()
    number = int.from_bytes(digest[:4])
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - same
    torch.manual_seed(number)
    return number
