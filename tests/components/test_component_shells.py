import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl, local
from kfp.dsl.types import artifact_types

import components.artifacts as artifacts_module
from components.artifacts import BentoArchive, Predictions, TrainedModel
from components.shared.dataset import Dataset
from pipelines import sweep, training

STEPS = tuple(dict.fromkeys((*training.RECORDED, *sweep.STEPS, "run_record")))
ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ultralytics", "bentoml", "polars", "cv2", "numpy", "PIL")


def imported(path: Path) -> list[str]:
    """What a file imports when it is loaded."""
    modules = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            names = [f"components.{alias.name}" for alias in node.names]
            modules += names if node.module == "components" else [node.module or ""]
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    return modules


@pytest.mark.parametrize("step", STEPS)
def test_a_component_imports_only_the_standard_library_kfp_and_the_artifacts(step: str) -> None:
    allowed = {"kfp", "components", *sys.stdlib_module_names}
    for module in imported(ROOT / "components" / step / "component.py"):
        assert module.split(".")[0] in allowed
        assert not module.startswith("components") or module == "components.artifacts"


def test_shared_modules_load_without_kfp_torch_and_the_training_library() -> None:
    heavy = {"kfp", "torch", "torchvision", "ultralytics"}
    for path in (ROOT / "components" / "shared").rglob("*.py"):
        assert not heavy & {module.split(".")[0] for module in imported(path)}, path


def test_the_dag_loads_without_any_heavy_library() -> None:
    code = (
        f"import sys, pipelines.training, pipelines.sweep; print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("step", STEPS)
def test_every_argument_of_a_component_is_described(step: str) -> None:
    module = __import__(f"components.{step}.component", fromlist=[step])
    component = getattr(module, step)
    described = set(re.findall(r"^ {4,}(\w+): \S", component.python_func.__doc__, flags=re.MULTILINE))
    assert set(inspect.signature(component.python_func).parameters) <= described
    assert all(field.description for field in component.component_spec.inputs.values())


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_a_readme_and_metadata_that_name_it(step: str) -> None:
    folder = ROOT / "components" / step
    assert yaml.safe_load((folder / "metadata.yaml").read_text())["name"] == step
    assert (folder / "README.md").read_text().startswith(f"# {step}")


@pytest.mark.parametrize("kind", [TrainedModel, BentoArchive, Predictions])
def test_kfp_rebuilds_our_artifacts_as_our_classes(kind: type[dsl.Artifact]) -> None:
    assert artifact_types._SCHEMA_TITLE_TO_TYPE[kind.schema_title] is kind
    assert artifacts_module.__doc__


@pytest.mark.slow
def test_the_data_components_run_as_plain_functions(tmp_path: Path) -> None:
    """In a process of their own, because a step takes over logging and signals."""
    code = f"""
from pathlib import Path
from kfp import dsl
from components.data_load.component import data_load
from components.data_prep.component import data_prep
root = Path({str(tmp_path)!r})
def made(kind, name):
    return kind(name=name, uri=str(root / name), metadata={{}})
loaded = made(dsl.Dataset, "dataset")
data_load.python_func(source="sample://workbench", store=f"file://{{root}}/store", dataset=loaded,
    summary=made(dsl.Metrics, "s1"), report=made(dsl.HTML, "r1"), sample_images=20, sample_edge=96)
splits = {{name: made(dsl.Dataset, name) for name in ("train", "val", "test")}}
data_prep.python_func(dataset=loaded, store=f"file://{{root}}/store", **splits,
    summary=made(dsl.Metrics, "s2"), report=made(dsl.HTML, "r2"), overview=made(dsl.Markdown, "o2"))
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, check=True)
    splits = [Dataset.load(tmp_path / name) for name in ("train", "val", "test")]
    assert sum(split.images.height for split in splits) == 19
    assert all(split.split == name for split, name in zip(splits, ("train", "val", "test"), strict=True))


@dsl.component(base_image="python", packages_to_install=[], install_kfp_package=False)
def make_archive(archive: dsl.Output[BentoArchive]) -> None:
    archive.metadata["tag"] = "a:1"


@dsl.component(base_image="python", packages_to_install=[], install_kfp_package=False)
def read_archive(archive: dsl.Input[BentoArchive]) -> str:
    return f"{type(archive).__name__} {archive.metadata['tag']}"


def test_a_custom_artifact_keeps_its_class_through_the_local_runner(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))

    @dsl.pipeline
    def both() -> str:
        return read_archive(archive=make_archive().outputs["archive"]).output

    assert both().output == "BentoArchive a:1"
