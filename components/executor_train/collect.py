"""Say how an executor fared, and turn the best of its models into a model folder that proves what is in it.

Such a model is kept, versioned and hashed like any other, but it cannot be packed and served by this project's own
service, which has no runtime for foreign frameworks. Where its file is one that a trainer here can start from, the
report says how to go on.
"""

import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from components.executor_train.choice import Choice, choose_stage, is_ultralytics, main_file
from components.executor_train.contract import CONFIG, RESERVED, RESULT, STAGES
from components.executor_train.failure import find_failure
from components.executor_train.outcome import Leftovers, open_leftovers
from components.executor_train.report import Account, write_report
from components.executor_train.result import Result, describe_stages, parse_result
from components.shared.dataset import Dataset
from components.shared.detection.manifest import ModelManifest
from components.shared.documents import parse_yaml
from components.shared.errors import InputError, PipelineError, TrainingError
from components.shared.files import sha256_tree, write_atomically
from components.shared.progress import Announce, silent
from components.shared.splits import keep_test_image
from components.shared.store import Store, open_store

FRAMEWORK = "ymir"  # the manifest's framework is this, a colon and the image
_SIZES = ("imgsz", "img_size", "image_size", "input_size")  # what executors call the edge they train at
_LARGEST = 16384  # pixels
_TAIL = 40  # lines of the log

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kept:
    """What is in the model folder so far."""

    weights: str
    hints: tuple[str, ...]


def collect_model(
    splits: tuple[Path, Path],
    store_uri: str,
    left: Path,
    exit_code: int,
    model_dir: Path,
    report: Path,
    *,
    executor: str,
    notify: Announce = silent,
) -> ModelManifest:
    """Read what an executor left, write the report, and fill the model folder, its manifest last.

    Args:
        splits: folders of the datasets it was trained and validated on.
        store_uri: where their images lie.
        left: the tar of ``executor_run``.
        exit_code: what the executor ended with.
        model_dir: receives the files of the best stage as they are, the executor's own papers and a test image.
        report: receives the HTML report, also of a training that failed.
        executor: its image, or the command that started it.
        notify: hears how far it is.

    Raises:
        ConfigError: the executor says its configuration is wrong.
        OutOfMemoryError: the executor says its GPU's memory does not do.
        DivergedError: the executor says its loss is no number any more.
        TrainingError: it failed for another reason, or left no model.
    """
    train, val = (Dataset.load(folder) for folder in splits)
    with open_leftovers(left) as found:
        account = Account(
            executor=executor,
            exit_code=exit_code,
            monitor=found.monitor,
            log=_tail(found.log),
            config=read_config(found.config),
        )
        try:
            result, choice = _judge(found, exit_code)
        except PipelineError as error:
            write_report(report, account, failure=str(error))
            raise
        for warning in (*choice.warnings, *_doubts(found)):
            notify(0.1, "keeping the best model", warning=warning)
        kept = _fill(found, choice, result, model_dir)
    notify(0.8, "writing the manifest")
    manifest = _manifest(account, choice, kept, train, val, open_store(store_uri), model_dir)
    for hint in kept.hints:
        logger.info("%s", hint)
    notes = (*choice.warnings, *_doubts(found))
    write_report(report, account, result=result, chosen=choice.stage, manifest=manifest, notes=notes, hints=kept.hints)
    return manifest


def _judge(found: Leftovers, exit_code: int) -> tuple[Result, Choice]:
    """The stages and the best of them.

    Raises:
        PipelineError: the executor failed, or what it left is no model.
    """
    failure = find_failure(exit_code, found.monitor, found.log)
    if failure is not None:
        raise type(failure)(f"{failure}{_remains(found)}")
    if found.result is None:
        raise TrainingError(
            f"The executor ended well but left no {RESULT}, so there is no model: look at its log.{_remains(found)}"
        )
    try:
        result = parse_result(found.result)
    except InputError as error:
        raise TrainingError(f"The executor's results cannot be used: {error}{_remains(found)}") from error
    return result, choose_stage(result, found)


def _remains(found: Leftovers) -> str:
    """Where to find what a failed executor had made."""
    count = sum(1 for name in found.models if name != RESULT)
    return f" {count} files it had written to /out/models are kept in the result of executor_run." if count else ""


def _doubts(found: Leftovers) -> tuple[str, ...]:
    """What is odd about an executor that did not fail."""
    monitor = found.monitor
    if monitor is None:
        return ("The executor wrote no monitor.txt: nobody could see how far it was.",)
    unfinished = monitor.percent is not None and monitor.percent < 1
    return (f"The executor ended at {monitor.percent:.0%} of its own count.",) if unfinished else ()


def _fill(found: Leftovers, choice: Choice, result: Result, model_dir: Path) -> _Kept:
    shutil.rmtree(model_dir, ignore_errors=True)  # what an earlier, killed attempt left is no part of this model
    stage = choice.stage.name
    placed = {f"{stage}/{name}": member for name, member in choice.members.items()}
    placed |= {f"attachments/{name}": member for name, member in found.find_attachments(result.attachments).items()}
    for name, member in placed.items():
        found.copy(member, model_dir / name)
    # Not result.yaml itself: it holds times, so that the same model would never have the same digest again.
    for name, content in ((STAGES, describe_stages(result, stage)), (CONFIG, found.config)):
        with write_atomically(model_dir / name) as temporary:
            temporary.write_bytes(content)
    files = [f"{stage}/{name}" for name in choice.members]
    sizes = {name: (model_dir / name).stat().st_size for name in files}
    weights = main_file(files, sizes)
    ours = [name for name in files if name.endswith(".pt") and is_ultralytics(model_dir / name)]
    hints = tuple(
        f"{name} is an ultralytics model: a training of this project goes on from it with start_from=<{name} of this"
        " model>, and what comes of that can be packed, proved and served."
        for name in ours
    )
    return _Kept(weights, hints)


def _manifest(
    account: Account, choice: Choice, kept: _Kept, train: Dataset, val: Dataset, store: Store, model_dir: Path
) -> ModelManifest:
    numbers = {"map": choice.stage.map, **choice.stage.numbers}
    asked = {name: value for name, value in account.config.items() if name not in RESERVED}
    manifest = ModelManifest(
        name=train.name,
        framework=f"{FRAMEWORK}:{account.executor}",
        weights=kept.weights,
        last=kept.weights,
        test_image=keep_test_image(val, store, model_dir),
        classes=train.classes,
        imgsz=image_size(account.config),
        parameters={
            name: value if isinstance(value, str | int | float | bool) else str(value) for name, value in asked.items()
        },
        datasets={"train": train.version, "val": val.version},
        libraries={},
        metrics={name: value for name, value in numbers.items() if math.isfinite(value)},
        files=sha256_tree(model_dir),
    )
    manifest.save(model_dir)
    return manifest


def image_size(config: dict[str, object]) -> int:
    """The edge an executor was told to train at, in pixels; 0: it was told nothing that says so."""
    for name in _SIZES:
        value = config.get(name)
        edges = [edge for edge in (value if isinstance(value, list) else [value]) if isinstance(edge, int)]
        if edges and 0 < max(edges) <= _LARGEST:
            return max(edges)
    return 0


def read_config(content: bytes) -> dict[str, object]:
    """What ``config.yaml`` held; empty where it cannot be read."""
    try:
        loaded = parse_yaml(content, CONFIG)
    except InputError as error:
        logger.warning("The executor's configuration is not shown: %s", error)
        return {}
    return {str(name): value for name, value in loaded.items()} if isinstance(loaded, dict) else {}


def _tail(log: str) -> tuple[str, ...]:
    return tuple(log.splitlines()[-_TAIL:])
