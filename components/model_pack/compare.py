"""Convert a staged model, compare what came of it with the weights, and keep what is good enough."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.model_pack.agreement import Agreement, agreement
from components.model_pack.choice import choose_runtime, choose_thresholds, drop_of, refuse_inaccurate
from components.model_pack.conversions import RUNTIMES, TENSORRT, convert_model
from components.model_pack.measure import Measured, measure
from components.model_pack.options import PackOptions
from components.model_pack.samples import Samples
from components.shared.cpus import usable_cpus
from components.shared.detection.contract import InputContract
from components.shared.detection.inference import TORCH, Inference
from components.shared.detection.manifest import ModelManifest
from components.shared.progress import Notify
from components.shared.runtime_table import RuntimeRow, RuntimeTable

_CONVERTING = 0.3  # share of the time


@dataclass(frozen=True)
class Compared:
    """What the archive will hold.

    Attributes:
        inference: how it predicts by default.
        runtimes: the converted models that are kept.
        input: what they take; ``None`` without any.
        table: all that were asked for, side by side.
        thresholds: a sentence on where the confidences are from.
    """

    inference: Inference
    runtimes: tuple[str, ...]
    input: InputContract | None
    table: RuntimeTable
    thresholds: str


def compare_runtimes(
    source: Path, trained: ModelManifest, options: PackOptions, samples: Samples, notify: Notify
) -> Compared:
    """Fill ``source / "runtimes"`` with the runtimes that keep the accuracy, and choose how the model serves.

    Args:
        source: the staged source folder of the bento, with the model.
        trained: the model's manifest.
        options: what is asked for.
        samples: what is measured on.
        notify: hears how far it is.

    Raises:
        ArchiveError: the runtime that shall serve cannot be made or loses too much.
        ConfigError: likewise, for a missing library.
    """
    notify(0.0, "converting")
    conversions = convert_model(source, trained, options, samples)
    plain = Inference.model_validate(
        {"tile": options.tile, "tile_overlap": options.tile_overlap, "tile_merge": options.tile_merge}
    )
    measurement = measure(
        source,
        list(conversions.made),
        samples,
        plain,
        lambda share, message: notify(_CONVERTING + share * (1 - _CONVERTING), message),
        serving=options.serve_runtime,
    )
    refused = conversions.refused | measurement.refused | refuse_inaccurate(measurement.measured, options)
    for runtime in refused:
        shutil.rmtree(source / RUNTIMES / runtime, ignore_errors=True)
    if not set(conversions.made) - set(refused):
        shutil.rmtree(source / RUNTIMES, ignore_errors=True)
    kept = [one for one in measurement.measured if one.runtime not in refused]
    inference, thresholds = _serving(kept, samples, options, plain)
    return Compared(
        inference=inference,
        runtimes=tuple(one.runtime for one in kept if one.runtime != TORCH),
        input=next((conversions.made[one.runtime].input for one in kept if one.runtime != TORCH), None),
        table=_table(measurement.measured, refused, inference, options, trained.classes),
        thresholds=thresholds,
    )


def _serving(
    kept: Sequence[Measured], samples: Samples, options: PackOptions, plain: Inference
) -> tuple[Inference, str]:
    """How the model serves, chosen among the runtimes that are kept, and where its confidences are from."""
    by_name = {one.runtime: one for one in kept}
    on_cpu = choose_runtime(kept, options)
    served = {"cpu": on_cpu, "cuda": TENSORRT if TENSORRT in by_name else TORCH}
    return choose_thresholds(by_name[on_cpu], samples, plain.model_copy(update={"runtimes": served}))


def _table(
    measured: Sequence[Measured],
    refused: dict[str, str],
    inference: Inference,
    options: PackOptions,
    classes: tuple[str, ...],
) -> RuntimeTable:
    weights = measured[0]
    by_name = {one.runtime: one for one in measured}
    rows = [
        _row(by_name[name], weights, inference, classes, refused.get(name, ""))
        if name in by_name
        else RuntimeRow(runtime=name, refused=refused[name])
        for name in (TORCH, *options.runtimes)
    ]
    return RuntimeTable(
        images=len(weights.found),
        device="cpu, tensorrt on cuda" if TENSORRT in by_name else "cpu",
        threads=usable_cpus(),
        rows=tuple(rows),
    )


def _row(one: Measured, weights: Measured, inference: Inference, classes: tuple[str, ...], refused: str) -> RuntimeRow:
    same = Agreement(0.0, 0.0, 0) if one is weights else agreement(weights, one, inference, classes)
    return RuntimeRow(
        runtime=one.runtime,
        map50_95=one.map50_95,
        map50=one.map50,
        drop=drop_of(weights, one),
        max_box_difference=same.box if one.found else None,
        max_score_difference=same.score if one.found else None,
        boxes_apart=same.apart if one.found else None,
        latency_ms_p50=one.latency(50),
        latency_ms_p95=one.latency(95),
        megabytes=one.megabytes,
        served=tuple(kind for kind, name in sorted(inference.runtimes.items()) if name == one.runtime),
        refused=refused,
    )
