"""Predict with a converted model: our own pre- and post-processing around whatever engine runs it."""

from pathlib import Path

from components.shared.cpus import usable_cpus
from components.shared.detection.contract import load_spec, verify_runtime
from components.shared.detection.engines import open_engine
from components.shared.detection.frameworks import Pixels, Rows
from components.shared.detection.postprocess import decode
from components.shared.detection.preprocess import prepare
from components.shared.errors import ArchiveError


class EngineRuntime:
    """A folder ``runtimes/<runtime>`` ready to predict; it needs the engine's library only.

    Args:
        folder: what an export made; its files are compared with ``runtime.json``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        threads: CPU threads of one prediction; 0 for what this process may use.

    Raises:
        ArchiveError: a file is missing, has other bytes or cannot be loaded.
        ConfigError: the engine's library or the device is not here.
    """

    def __init__(self, folder: Path, *, device: str = "cpu", threads: int = 0) -> None:
        self.spec = load_spec(folder)
        verify_runtime(folder, self.spec)
        self.names = self.spec.classes
        self._engine = open_engine(self.spec, folder, device=device, threads=threads or usable_cpus())

    def predict(self, image: Pixels, *, conf: float, iou: float, max_det: int) -> Rows:
        """Boxes in one RGB image: float64 ``(N, 6)`` left, top, right, bottom, score, label, in the image's pixels.

        Boxes of one class that overlap by more than ``iou`` are suppressed, where the model does not do so itself; a
        box has one label, its best.
        """
        tensor, placement = prepare(image, self.spec.input)
        outputs = self._engine.run(tensor)
        return decode(outputs, self.spec.output.layout, placement, conf=conf, iou=iou, max_det=max_det)


def open_runtime(model: Path, runtime: str, *, device: str = "cpu", threads: int = 0) -> EngineRuntime:
    """The converted model beside a model folder: ``runtimes/<runtime>`` next to it; raises as ``EngineRuntime``."""
    runtimes = model.parent / "runtimes"
    known = sorted(path.name for path in runtimes.glob("*") if path.is_dir())
    if runtime not in known:
        raise ArchiveError(
            f"There is no runtime {runtime!r} beside {str(model)!r}: use {' or '.join(known) or 'the weights'}."
        )
    folder = runtimes / runtime
    opened = EngineRuntime(folder, device=device, threads=threads)
    if opened.spec.runtime != runtime:
        raise ArchiveError(f"The runtime in {str(folder)!r} calls itself {opened.spec.runtime!r}.")
    return opened
