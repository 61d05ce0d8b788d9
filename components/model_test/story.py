"""What is known of a proof so far, for its report, and as JSON for programs."""

import json
from dataclasses import dataclass, field
from typing import Any

from components.model_test.evidence import Check, Proof, gather_numbers
from components.model_test.limits import tolerance_of
from components.model_test.load import Load
from components.model_test.options import ProofOptions
from components.model_test.predictions import Findings
from components.model_test.runtimes import RuntimeResult
from components.shared.archive import ArchiveManifest

SCHEMA = 1
_MOST_DIFFERENCES = 200


@dataclass
class Story:
    """What is known so far; the report tells it wherever the proof ended.

    Attributes:
        options: what was asked for.
        checks: the comparisons that were made.
        manifest: the archive's, once it was opened.
        archive_bytes: size of ``model.bento``.
        trained: what the trained model finds.
        packed: what the packed one finds.
        runtimes: what is known of each converted model.
        served: the runtime the service ran.
        single: answers to one client.
        load: answers to several at once.
        proof: the outcome, when all is the same.
        failure: the sentence it failed with.
        log: the end of what the service wrote.
    """

    options: ProofOptions = field(default_factory=ProofOptions)
    checks: list[Check] = field(default_factory=list)
    manifest: ArchiveManifest | None = None
    archive_bytes: int = 0
    trained: Findings | None = None
    packed: Findings | None = None
    runtimes: list[RuntimeResult] = field(default_factory=list)
    served: str = ""
    single: Load | None = None
    load: Load | None = None
    proof: Proof | None = None
    failure: str = "The proof did not come to an end."
    log: str = ""

    @property
    def numbers(self) -> dict[str, float]:
        """Numbers of the checks that were made."""
        return gather_numbers(self.checks)


def document(story: Story) -> str:
    """The proof as JSON: ``passed``, ``failure``, ``archive``, ``checks``, ``runtimes``, ``load`` and ``numbers``.

    The same archive gives another document each time, for it holds times.
    """
    manifest = story.manifest
    content = {
        "schema_version": SCHEMA,
        "passed": story.proof is not None,
        "failure": "" if story.proof else story.failure,
        "archive": _archive(manifest, story) if manifest else None,
        "options": {name: getattr(story.options, name) for name in ProofOptions.__dataclass_fields__},
        "images": [sample.name for sample in story.trained.samples] if story.trained else [],
        "checks": [_check(check) for check in story.checks],
        "runtimes": [_runtime(result) for result in story.runtimes],
        "served": story.served,
        "load": _load(story.load),
        "numbers": story.numbers,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _archive(manifest: ArchiveManifest, story: Story) -> dict[str, Any]:
    return {
        "tag": manifest.tag,
        "content_digest": manifest.content_digest,
        "model_digest": manifest.model_digest,
        "code": manifest.code,
        "bytes": story.archive_bytes,
        "inference": manifest.inference.model_dump(mode="json"),
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "title": check.title,
        "compared": check.compared,
        "made": bool(check.numbers),
        "passed": check.passed,
        "differences": list(check.differences[:_MOST_DIFFERENCES]),
        "differences_in_all": len(check.differences),
    }


def _runtime(result: RuntimeResult) -> dict[str, Any]:
    return {
        "runtime": result.name,
        "allowed": tolerance_of(result.name).describe(),
        "files": result.converted.compared,
        "boxes": result.boxes,
        "asked": result.asked,
        "apart": result.apart,
        "agreement": result.agreement,
        "max_score_difference": result.max_score_difference,
        "max_box_difference": result.max_box_difference,
        "problem": result.problem,
    }


def _load(load: Load | None) -> dict[str, Any] | None:
    if load is None:
        return None
    return {
        "clients": load.clients,
        "seconds": load.seconds,
        "answers": len(load.latencies),
        "failures": load.failures,
        "per_second": load.per_second,
        "p50_ms": load.p50,
        "p95_ms": load.p95,
    }
