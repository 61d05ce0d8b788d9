"""What a run on a cluster would be: parameters that mean something there, and what of this machine has to go first."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from components.shared.archive import BENTO
from components.shared.errors import ConfigError
from components.shared.source_addresses import redacted, scheme_of
from components.shared.sources import Kind, check_source, kind_of, local_path, name_of, split_sources
from components.shared.store_s3 import S3Store
from pipelines.catalogue import EXECUTOR, Pipeline
from pipelines.config import TrainingConfig
from pipelines.executor_config import ExecutorConfig, resolve_executor
from pipelines.packages import NAMES, Package, build_package
from pipelines.placement import GPU_TOLERATION
from pipelines.precheck import absolute_paths, check_training
from pipelines.sweep_config import SweepConfig

STORE = "PIPELINE_STORE"
WEIGHTS = ("model", "start_from")
SPOT = {"karpenter.sh/capacity-type": "spot"}
SPOT_TOLERATION = {"key": "detection-pipeline/spot", "operator": "Exists", "effect": "NoSchedule"}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Wishes:
    """What a person asked for besides the parameters by name.

    Attributes:
        config_file: YAML file with parameters.
        settings: ``name=value`` texts.
        overrides: parameters that options set.
        spot: train on nodes that may be taken away.
        caching: whether steps may be reused.
    """

    config_file: Path | None = None
    settings: tuple[str, ...] = ()
    overrides: Mapping[str, object] = field(default_factory=dict)
    spot: bool = False
    caching: bool = True


@dataclass(frozen=True)
class Plan:
    """A run that could be started.

    Attributes:
        config: its parameters; files and folders of this machine are absolute paths still.
        chosen: the names of the parameters that somebody set.
        package: the pipeline.
        uploads: files and folders of this machine that the parameters name, in order, each once.
    """

    config: TrainingConfig
    chosen: frozenset[str]
    package: Package
    uploads: tuple[Path, ...]
    values: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def arguments(self, addresses: Mapping[Path, str]) -> dict[str, Any]:
        """The parameters that differ from the package's defaults, local paths replaced by their addresses."""
        values = {name: _replaced(name, value, addresses) for name, value in self.values.items()}
        return differing(self.package, values)

    @property
    def images(self) -> list[str]:
        """The images that the package's steps run in."""
        executors = _spec(self.package)["deploymentSpec"]["executors"].values()
        return sorted({one["container"]["image"] for one in executors if "container" in one})


def make_plan(pipeline: Pipeline[Any], wishes: Wishes) -> Plan:
    """Check everything that can be checked without asking anybody.

    Raises:
        PipelineError: a parameter is wrong, or means nothing on a cluster; see its message.
    """
    resolve = resolve_executor if pipeline is EXECUTOR else pipeline.resolve
    config, chosen = resolve(wishes.config_file, wishes.settings, wishes.overrides)
    check_source(config.source, sql_query=config.sql_query, allow_private_addresses=config.allow_private_addresses)
    settled: dict[str, Any] = {"store": _store(config, chosen)}
    if wishes.spot:
        settled |= _on_spot(config)
    if not wishes.caching and "resume" not in chosen:
        settled["resume"] = "never"
    local = dict.fromkeys(_local_sources(config.source))
    if local and not config.name:
        settled["name"] = name_of(config.source)  # the address in the store ends in a digest
    settled |= _weights(config, local)
    changed = config.model_copy(update=settled)
    package = _package(pipeline, config, caching=wishes.caching)
    _check_declared(package, chosen)
    return Plan(changed, frozenset(chosen), package, tuple(local), pipeline.arguments(changed))


def differing(package: Package, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values that are not the package's own defaults; what the package has no parameter for is left out."""
    declared = _declared(package)
    return {
        name: value
        for name, value in values.items()
        if name in declared and declared[name].get("defaultValue", _missing(declared[name])) != value
    }


def _declared(package: Package) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _spec(package)["root"].get("inputDefinitions", {}).get("parameters", {})
    return found


def _check_declared(package: Package, chosen: set[str]) -> None:
    for name in sorted(chosen - set(_declared(package)) - {"parallelism"}):
        raise ConfigError(f"{name!r} is no parameter of the pipeline {package.name!r} on a cluster: leave it out.")


def _spec(package: Package) -> Mapping[str, Any]:
    """The package's IR."""
    return _parsed(package.text)


@lru_cache(maxsize=2)
def _parsed(text: str) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = next(iter(yaml.load_all(text, Loader=_LOADER)))
    return spec


def _missing(declared: Mapping[str, Any]) -> object:
    """What a parameter without a default is: KFP drops defaults that are empty texts."""
    empty: dict[str, object] = {"STRING": "", "LIST": [], "STRUCT": {}}
    return empty.get(declared.get("parameterType", "")) if declared.get("isOptional") else None


def _package(pipeline: Pipeline[Any], config: TrainingConfig, *, caching: bool) -> Package:
    (kind,) = (kind for kind, name in NAMES.items() if name == pipeline.name)
    fixed = all(kind_of(one) in {Kind.LOCAL, Kind.SAMPLE} for one in split_sources(config.source))
    if isinstance(config, SweepConfig):
        return build_package(kind, parallelism=config.parallelism, caching=caching, fixed_source=fixed)
    return build_package(kind, caching=caching, fixed_source=fixed)


def _store(config: TrainingConfig, chosen: set[str]) -> str:
    """An S3 address; raises ``ConfigError`` for one that pods cannot see."""
    text = config.store if "store" in chosen else os.environ.get(STORE, "")
    if not text:
        raise ConfigError(
            f"Pods need a store that all of them see: give --set store=s3://bucket/prefix, or set {STORE}."
        )
    if not text.startswith("s3://"):
        raise ConfigError(
            f"store={text!r} lies on one machine, and pods run on others: give an S3 address such as"
            " s3://bucket/prefix (MinIO and SeaweedFS speak S3; their address goes into the pods' secret)."
        )
    return S3Store.from_environment(text).uri


def _local_sources(source: str) -> list[Path]:
    """The files and folders of this machine among the sources."""
    found = []
    for one in split_sources(source):
        if kind_of(one) is Kind.LOCAL:
            found.append(local_path(one).resolve())
        elif (scheme_of(one) or "").partition("+")[0] == "sqlite":
            raise ConfigError(
                f"{redacted(one)!r} is a file of this machine that pods do not see: use a database server, or load it"
                " with --local first and give what it comes to."
            )
    return found


def _weights(config: TrainingConfig, local: dict[Path, None]) -> dict[str, Any]:
    """Models and weights with local ones as absolute paths, which are added to ``local``."""
    if isinstance(config, ExecutorConfig):
        if not config.image:
            raise ConfigError("Nothing says which executor to run: give --image IMAGE; a cluster has nothing else.")
        return {"pretrained": _pretrained(config.pretrained, local)}
    settled: dict[str, Any] = _absolute(dict(config), local)
    settings = getattr(config, "settings", None)
    if settings is not None:
        settled["settings"] = [setting | _absolute(setting, local) for setting in settings]
    for setting in settings or [{}]:
        check_training({**dict(config), **setting, "device": "auto"})  # which GPUs there are is the cluster's affair
    return settled


def _absolute(values: Mapping[str, Any], local: dict[Path, None]) -> dict[str, str]:
    found = absolute_paths({name: values[name] for name in WEIGHTS if name in values})
    for name, text in found.items():
        path = Path(text)
        if not text or not path.is_absolute() or not path.exists():
            continue
        if path.is_dir():
            path /= BENTO
            if not path.is_file():
                raise ConfigError(
                    f"{name}={values[name]!r} is a folder: pods take one file, give its weights or its packed model."
                )
        found[name] = str(path)
        local[path] = None
    return found


def _pretrained(text: str, local: dict[Path, None]) -> str:
    """An executor's weights: one text, or several as a JSON list, local ones as absolute paths."""
    several = text.lstrip().startswith("[")
    parts = json.loads(text) if several else [text]
    settled = []
    for part in parts:
        path = Path(part).expanduser()
        if part and path.exists():
            local[path.resolve()] = None
            part = str(path.resolve())  # noqa: PLW2901 - the same, from anywhere
        settled.append(part)
    return json.dumps(settled) if several else settled[0]


def _on_spot(config: TrainingConfig) -> dict[str, Any]:
    wanted = [dict(GPU_TOLERATION), SPOT_TOLERATION]
    missing = [one for one in wanted if not any(have.get("key") == one["key"] for have in config.tolerations)]
    return {"node_selector": {**config.node_selector, **SPOT}, "tolerations": [*config.tolerations, *missing]}


def _replaced(name: str, value: Any, addresses: Mapping[Path, str]) -> Any:  # noqa: ANN401 - any parameter's value
    known = {str(path): address for path, address in addresses.items()}
    if name == "source":
        sources = [_address_of(source, addresses) for source in split_sources(value)]
        return sources[0] if len(sources) == 1 else json.dumps(sources, ensure_ascii=False)
    if name == "settings":
        return [{key: known.get(str(item), item) for key, item in setting.items()} for setting in value]
    if name == "pretrained" and str(value).lstrip().startswith("["):
        return json.dumps([known.get(part, part) for part in json.loads(value)])
    return known.get(value, value) if name in {*WEIGHTS, "pretrained"} else value


def _address_of(source: str, addresses: Mapping[Path, str]) -> str:
    if kind_of(source) is not Kind.LOCAL:
        return source
    path = local_path(source).resolve()
    return addresses.get(path, str(path))
