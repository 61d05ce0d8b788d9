"""Compare what each converted model in the archive finds with what the trained weights find."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from components.model_test.boxes import Comparison, compare_boxes
from components.model_test.conversions import Converted, compare_conversion
from components.model_test.evidence import Check
from components.model_test.limits import Tolerance, tolerance_of
from components.model_test.predictions import Findings, predict, predict_with
from components.shared.archive import OpenArchive
from components.shared.detection.contract import SPEC, load_spec
from components.shared.errors import ConfigError, PipelineError, in_one_line

FOLDER = "runtimes"
MOST_BOXES = 1000  # of an image, where nothing is suppressed: pairs of them are compared


@dataclass(frozen=True)
class RuntimeResult:
    """What is known of one runtime.

    Attributes:
        name: the runtime's.
        tolerance: what was allowed.
        converted: how its files compare with a new conversion.
        asked: boxes that had to have a partner.
        apart: those of them that have none.
        boxes: boxes with a partner.
        max_score_difference: of partners.
        max_box_difference: of partners, in pixels.
        findings: what it found; ``None`` where it cannot run.
        problem: why it was not compared.
    """

    name: str
    tolerance: Tolerance
    converted: Converted = field(default_factory=lambda: Converted(""))
    asked: int = 0
    apart: int = 0
    boxes: int = 0
    max_score_difference: float = 0.0
    max_box_difference: float = 0.0
    findings: Findings | None = None
    problem: str = ""

    @property
    def agreement(self) -> float:
        """Share of the boxes that had to have a partner and have one; 1 when there are none."""
        return 1 - self.apart / self.asked if self.asked else 1.0

    @property
    def numbers(self) -> dict[str, float]:
        """The comparison as flat numbers that begin with the runtime's name."""
        name = self.name.replace("-", "_")
        return {
            f"{name}_boxes_compared": self.boxes,
            f"{name}_agreement": self.agreement,
            f"{name}_max_score_difference": self.max_score_difference,
            f"{name}_max_box_difference": self.max_box_difference,
        }


def compare_runtime(name: str, model: Path, opened: OpenArchive, trained: Findings) -> tuple[RuntimeResult, Check]:
    """One converted model: its files, what they say they take, and what it finds in every sample.

    A runtime that no machine like this one can run (TensorRT without a GPU) is told to be unproved.

    Raises:
        ArchiveError: a file is missing, has other bytes or cannot be loaded.
        ConfigError: a library is missing.
    """
    folder = opened.bento / "src" / FOLDER / name
    tolerance = tolerance_of(name)
    converted = _convert_again(model, folder, name)
    differences = [*_contract_differences(opened, folder, name), *converted.differences]
    try:
        found = predict(opened.model, trained.samples, trained.asked, runtime=name)
    except ConfigError as error:
        if name != "tensorrt":
            raise
        result = RuntimeResult(name, tolerance, converted, problem=in_one_line(error))
        return result, Check(_title(name), f"not run: {result.problem}", tuple(differences))
    compared_with, other = (trained, found) if tolerance.overlap else (_unsuppressed(trained), _unsuppressed(found))
    result, boxes = _result(name, tolerance, converted, compared_with, other)
    result = replace(result, findings=found)
    compared = f"{result.boxes:,} boxes in {len(trained.samples)} images, {100 * result.agreement:.3g} % agree"
    if converted.compared:
        compared += f"; files {converted.compared}"
    return result, Check(_title(name), compared, (*differences, *boxes), result.numbers)


def _unsuppressed(findings: Findings) -> Findings:
    """The same with whole images and nothing suppressed: of two boxes alike, rounding decides which one is."""
    how = findings.asked.how.model_copy(update={"iou": 1.0, "tile": 0, "max_det": MOST_BOXES})
    return predict_with(findings.detector, findings.samples, replace(findings.asked, how=how))


def _convert_again(model: Path, folder: Path, name: str) -> Converted:
    try:
        return compare_conversion(model, folder)
    except PipelineError as error:
        reason = in_one_line(error)
        return Converted("", (f"the trained weights could not be converted to {name!r} again: {reason}",))


def _title(name: str) -> str:
    return f"Runtime {name}"


def _contract_differences(opened: OpenArchive, folder: Path, name: str) -> list[str]:
    """What the archive's manifest says the converted models take, and this one's own description."""
    declared, own = opened.manifest.input, load_spec(folder).input
    if declared is None or declared == own:
        return []
    return [f"{SPEC} of the runtime {name!r} says it takes {own!r}, but the archive's manifest {declared!r}"]


def _result(
    name: str, tolerance: Tolerance, converted: Converted, trained: Findings, found: Findings
) -> tuple[RuntimeResult, tuple[str, ...]]:
    """The comparison of all samples, and its differences when there are more than the tolerance allows."""
    comparisons = _comparisons(name, tolerance, trained, found)
    asked = sum(each.asked for each in comparisons)
    lonely = [text for each in comparisons for text in each.differences]
    apart = sum(each.apart for each in comparisons)
    result = RuntimeResult(
        name=name,
        tolerance=tolerance,
        converted=converted,
        asked=asked,
        apart=apart,
        boxes=sum(each.pairs for each in comparisons),
        max_score_difference=max(each.max_score_difference for each in comparisons),
        max_box_difference=max(each.max_box_difference for each in comparisons),
        findings=found,
    )
    if apart <= tolerance.allowed(asked):
        return result, ()
    summary = (
        f"the runtime {name!r} finds {apart} of {asked} boxes otherwise than the weights, "
        f"{tolerance.allowed(asked)} are allowed ({tolerance.describe()})"
    )
    return result, (summary, *lonely)


def _comparisons(name: str, tolerance: Tolerance, trained: Findings, found: Findings) -> list[Comparison]:
    imgsz = trained.detector.manifest.imgsz
    clear = tolerance.clear if trained.conf else float("inf")  # without a cut nothing is clearly above it
    return [
        compare_boxes(
            sample.name,
            ours,
            theirs,
            other_is=f"the runtime {name!r}",
            within=tolerance,
            pixel=sample.longest / imgsz,
            clear=clear,
        )
        for sample, ours, theirs in zip(trained.samples, trained.found, found.found, strict=True)
    ]
