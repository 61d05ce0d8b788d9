"""The executor's ``config.yaml`` and ``env.yaml``."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from components.executor_train import contract
from components.executor_train.contract import DETECTION, IN, OUT, PROTOCOL_VERSION, RESERVED
from components.shared.documents import parse_yaml
from components.shared.errors import ConfigError, InputError

FORMATS = ("ark", "voc", "coco")
DEFAULT_FORMAT = "ark:raw"
MOST_GPUS = 64

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_FORMAT = re.compile(rf"(?:det-)?({'|'.join(FORMATS)}):raw")
_SHM = re.compile(r"[1-9][0-9]*[kKmMgG]?")


@dataclass(frozen=True)
class ExecutorSettings:
    """What a person chose for an executor.

    Attributes:
        template: values of the image's ``/img-man/training-template.yaml``; what it does not say, the image's own one
            fills in where it runs.
        values: values that win over the template's.
        export_format: how annotations are written: ``ark:raw``, ``voc:raw`` or ``coco:raw``, also with ``det-`` before.
        gpu_count: GPUs the executor may use; 0: it trains on CPUs.
        shm_size: shared memory the executor is told it has, such as ``16G``.
    """

    template: Mapping[str, object]
    values: Mapping[str, object]
    export_format: str
    gpu_count: int
    shm_size: str

    @property
    def annotation_format(self) -> str:
        """One of ``FORMATS``."""
        found = _FORMAT.fullmatch(self.export_format)
        assert found is not None  # noqa: S101 - checked when the settings were read
        return found[1]


def read_settings(
    *, template: str = "", config: str = "", export_format: str = "", gpu_count: int = 0, shm_size: str = "16G"
) -> ExecutorSettings:
    """Check what a person chose.

    Args:
        template: YAML text, a flat mapping.
        config: likewise; wins over the template.
        export_format: empty: as ``config`` or the template say, else ``ark:raw``.
        gpu_count: see ``ExecutorSettings``.
        shm_size: likewise.

    Raises:
        ConfigError: with the parameter and its value.
    """
    defaults, values = read_mapping(template, "executor_template"), read_mapping(config, "executor_config")
    for name in RESERVED:
        if name in values and name != "export_format":
            raise ConfigError(f"executor_config has {name!r}, which the pipeline decides: {_instead(name)}")
    wanted = export_format or str(values.get("export_format") or defaults.get("export_format") or DEFAULT_FORMAT)
    if not _FORMAT.fullmatch(wanted):
        names = ", ".join(f"{name}:raw" for name in FORMATS)
        raise ConfigError(f"export_format={wanted!r}: boxes can be written as {names}, also with det- before it.")
    if not 0 <= gpu_count <= MOST_GPUS:
        raise ConfigError(f"gpu_count={gpu_count}: use 0 (train on CPUs) to {MOST_GPUS}.")
    if not _SHM.fullmatch(shm_size):
        raise ConfigError(f"shm_size={shm_size!r}: write a number with k, M or G behind it, such as 16G.")
    return ExecutorSettings(defaults, values, wanted, gpu_count, shm_size)


def read_mapping(text: str, name: str) -> dict[str, object]:
    """A flat YAML or JSON mapping of names to values; empty text has none.

    Raises:
        ConfigError: it is none; ``name`` is the parameter to blame.
    """
    try:
        loaded = parse_yaml(text.encode(), name) if text.strip() else {}
    except InputError as error:
        raise ConfigError(f"{error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f'{name} must be a mapping of names to values, such as {{"epochs": 30}}; it is {text!r}.')
    for key, value in loaded.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ConfigError(f"{name} has the name {key!r}: use letters, digits, '_', '.' and '-'.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} has {key}={value!r}: a value must be a finite number.")
    return loaded


def make_config(
    settings: ExecutorSettings, *, task_id: str, classes: Sequence[str], pretrained: Sequence[str]
) -> dict[str, object]:
    """The content of ``config.yaml``: the template's values, then the person's, then those the platform decides.

    Args:
        settings: what a person chose.
        task_id: names the run; also what ``monitor.txt`` begins with.
        classes: class names by class id.
        pretrained: absolute paths below ``/in/models`` of weights to start from.
    """
    gpus = ",".join(str(number) for number in range(settings.gpu_count))  # a container counts its own from 0
    return {
        **settings.template,
        **settings.values,
        "task_id": task_id,
        "class_names": list(classes),
        "gpu_id": gpus,
        "gpu_count": settings.gpu_count,
        "pretrained_model_params": list(pretrained),
        "export_format": settings.export_format,
        "object_type": DETECTION,
        "shm_size": settings.shm_size,
    }


def make_env(task_id: str) -> dict[str, object]:
    """The content of ``env.yaml`` for a training."""
    return {
        "task_id": task_id,
        "run_training": True,
        "run_mining": False,
        "run_infer": False,
        "protocol_version": PROTOCOL_VERSION,
        "manifest_file": "/img-man/manifest.yaml",
        "input": {
            "root_dir": IN,
            "assets_dir": f"{IN}/{contract.ASSETS}",
            "annotations_dir": f"{IN}/{contract.ANNOTATIONS}",
            "models_dir": f"{IN}/{contract.MODELS}",
            "training_index_file": f"{IN}/{contract.TRAIN_INDEX}",
            "val_index_file": f"{IN}/{contract.VAL_INDEX}",
            "candidate_index_file": "",
            "config_file": f"{IN}/{contract.CONFIG}",
        },
        "output": {
            "root_dir": OUT,
            "models_dir": f"{OUT}/{contract.MODELS}",
            "tensorboard_dir": f"{OUT}/{contract.TENSORBOARD}",
            "training_result_file": f"{OUT}/{contract.RESULT}",
            "mining_result_file": f"{OUT}/result.tsv",
            "infer_result_file": f"{OUT}/infer-result.json",
            "monitor_file": f"{OUT}/{contract.MONITOR}",
            "executor_log_file": f"{OUT}/{contract.LOG}",
        },
    }


def make_task_id(settings: ExecutorSettings, versions: Mapping[str, str], pretrained: Sequence[str]) -> str:
    """A name that is the same whenever the same is trained; ``pretrained`` are digests of the weights."""
    facts = [settings.template, settings.values, settings.export_format, settings.gpu_count, versions, pretrained]
    return f"t{hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]}"


def to_yaml(content: Mapping[str, object]) -> bytes:
    """YAML in which every text stays text, one key a line where values are plain."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=1 << 20).encode()


def _instead(name: str) -> str:
    instead = {
        "class_names": "use target_classes.",
        "gpu_id": "use gpu_count.",
        "gpu_count": "set the parameter gpu_count.",
        "pretrained_model_params": "use pretrained.",
        "shm_size": "set the parameter shm_size.",
    }
    return instead.get(name, "leave it out.")
