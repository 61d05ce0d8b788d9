"""How long a training will take and how much memory it needs, foretold from its first batches."""

import itertools
import resource
import statistics
import sys
import time
from collections.abc import Callable

from components.model_train.care import Care
from components.model_train.story import Estimate
from components.shared.measures import span

WARM_UP = 2  # first batches that are not measured: caches fill, kernels are chosen, memory is asked for
BATCHES = 8  # measured at least, where an epoch has as many
SECONDS = 3.0  # measured at least, where an epoch lasts as long
VALIDATION = 0.15  # of the training's time, as long as no validation has been seen
_HOUR = 3600.0


class Calibration:
    """Measures the first batches of an attempt and then, once, says what is to be expected.

    The time of a batch is the median of those measured, so that one hiccup does not count. A validation takes
    ``VALIDATION`` of the training's time on top: how many images it has is not known here. An epoch of one or two
    batches is judged by those, warm-up included, and so too long.

    Args:
        total_epochs: epochs in all; those before ``first_epoch`` are not counted again.
        clock: seconds that never go back.
    """

    def __init__(self, total_epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total_epochs
        self._clock = clock
        self._batches = 0
        self._first_epoch = 1
        self._memory = 0.0
        self._moments: list[float] = []
        self._done = False

    def begun(self, images: int, batch: int, batches: int, first_epoch: int) -> None:
        """The first batch is about to begin: images an epoch, images a batch, batches an epoch, epoch (from 1)."""
        del images, batch
        self._batches, self._first_epoch = batches, first_epoch
        self._moments = [self._clock()]
        self._memory, self._done = 0.0, False

    def batch_done(self, epoch: int, batch: int, memory: float = 0.0) -> Estimate | None:
        """A batch is learned.

        Args:
            epoch: its number, from 1.
            batch: its number within the epoch, from 1.
            memory: GPU memory in use, in bytes; 0 when there is none.

        Returns:
            The estimate, once: after ``BATCHES`` batches and ``SECONDS`` seconds or the epoch's last batch.
        """
        if self._done or not self._moments:
            return None
        self._moments.append(self._clock())
        self._memory = max(self._memory, memory)
        last = batch >= self._batches or epoch > self._first_epoch
        skipped = min(WARM_UP, max(0, len(self._moments) - 2))
        measured = self._moments[skipped:]
        enough = len(measured) > BATCHES and measured[-1] - measured[0] >= SECONDS
        if not (enough or last):
            return None
        self._done = True
        return self._estimate([end - start for start, end in itertools.pairwise(measured)])

    def _estimate(self, times: list[float]) -> Estimate:
        seconds = statistics.median(times) * max(self._batches, 1) * (1 + VALIDATION)
        memory, device = _peak_memory(self._memory)
        remaining = max(0, self._total - self._first_epoch + 1)
        return Estimate(
            seconds_per_epoch=seconds,
            hours=seconds * remaining / _HOUR,
            memory=memory,
            device=device,
            batches=len(times),
        )


def compare(estimate: Estimate, care: Care, used: float = 0.0) -> str:
    """What to tell a person when ``max_hours`` is too short for all epochs.

    Args:
        estimate: what the first batches foretold.
        care: ``max_hours`` is looked at.
        used: seconds that earlier attempts have taken of it.

    Returns:
        A sentence with both times and how many epochs fit, or an empty text when all do.
    """
    left = care.max_hours - used / _HOUR
    if care.max_hours <= 0.0 or estimate.hours <= left:
        return ""
    fit = max(0, int(left * _HOUR / estimate.seconds_per_epoch))
    epochs = round(estimate.hours * _HOUR / estimate.seconds_per_epoch)
    spent = f", of which {span(used)} are used," if used else ""
    return (
        f"{epochs} epochs will take about {span(estimate.hours * _HOUR)} ({span(estimate.seconds_per_epoch)} each), "
        f"but max_hours={care.max_hours:g}{spent} ends the training after about {fit} of them: give it more time, "
        "fewer epochs or a smaller imgsz."
    )


def _peak_memory(seen: float) -> tuple[float, str]:
    """The most memory a GPU gave so far and its name; else what this process took, and ``cpu``."""
    torch = sys.modules.get("torch")  # whoever trains has loaded it
    if torch is not None and torch.cuda.is_available():
        peaks = [float(torch.cuda.max_memory_allocated(index)) for index in range(torch.cuda.device_count())]
        busiest = peaks.index(max(peaks))
        if max(peaks) > 0 or seen > 0:
            return max(seen, *peaks, 0.0), str(torch.cuda.get_device_name(busiest))
    if seen > 0:
        return seen, "gpu"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024), "cpu"
