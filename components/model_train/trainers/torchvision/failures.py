"""What torch raises while a training learns, in this project's words."""

from collections.abc import Iterator
from contextlib import contextmanager

from components.shared.errors import OutOfMemoryError, TrainingError, in_one_line

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed", "not enough memory")


@contextmanager
def explained(doing: str, batch: int, *, alone: bool = True) -> Iterator[None]:
    """Turn torch's errors in this block into ours; wrap no call of the watch in it.

    Args:
        doing: what is going on, as ``epoch 3``.
        batch: images a batch, for the message.
        alone: whether no other process takes part; else errors other than a lack of memory pass as they are, because
            whoever started the processes tells a peer's end from a fault by them.

    Raises:
        OutOfMemoryError: the memory of the GPU or of this machine is full.
        TrainingError: anything else went wrong.
    """
    try:
        yield
    except (RuntimeError, AssertionError, ValueError, MemoryError) as error:
        text = in_one_line(error)
        if isinstance(error, MemoryError) or any(sign in text.lower() for sign in _NO_MEMORY):
            raise OutOfMemoryError(
                f"batch={batch} does not fit the memory in {doing} ({text[:160]}): use a smaller batch or imgsz."
            ) from error
        if not alone:
            raise
        raise TrainingError(f"The training failed in {doing}: {text[:300]}.") from error
