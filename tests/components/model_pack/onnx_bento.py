"""An unpacked bento as packing leaves it, served by ONNX on a CPU, without a data set to measure it on."""

import shutil
from pathlib import Path

from components.model_pack.pack import PACKAGE, pack
from components.shared.archive import SOURCE, OpenArchive, open_archive
from components.shared.detection.engines import engine_code
from components.shared.detection.inference import Inference
from components.shared.detection.ultralytics_export import export


def make_onnx_bento(
    model: Path, work: Path, *, name: str = "shapes", runtimes: tuple[str, ...] = ("onnx",), inference: Inference
) -> OpenArchive:
    """Pack the model folder and add converted models; the first of them serves."""
    pack(model, work / "archive", name=name)
    opened = open_archive(work / "archive", work / "work")
    source = opened.bento / SOURCE
    for runtime in runtimes:
        spec = export(opened.model / "weights" / "best.pt", source / "runtimes" / runtime, runtime, imgsz=64, images=())
        for relative in engine_code(runtime):
            target = source / "components" / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PACKAGE / relative, target)
    served = inference.model_copy(update={"runtimes": {"cpu": runtimes[0], "cuda": "torch"}})
    served.save(source)
    manifest = opened.manifest.model_copy(
        update={"inference": served, "runtimes": runtimes, "input": spec.input, "datasets": {"train": "0" * 64}}
    )
    manifest.save(source)
    return OpenArchive(bento=opened.bento, manifest=manifest)
