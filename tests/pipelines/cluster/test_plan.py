"""What a run on a cluster would be: its parameters, and what of this machine has to go there first; nobody is asked."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.shared.errors import ConfigError, PipelineError
from pipelines.backends.cluster.plan import Wishes, differing, make_plan
from pipelines.catalogue import EXECUTOR, SWEEP, TRAINING, Pipeline
from pipelines.packages import Package, build_package

STORE = "store=s3://bucket/prefix"
COMPILED: dict[object, Package] = {}


@pytest.fixture(autouse=True)
def _in_a_folder_with_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled_once(*arguments: Any, **named: Any) -> Package:
        key = (arguments, tuple(named.items()))
        if key not in COMPILED:
            COMPILED[key] = build_package(*arguments, **named)
        return COMPILED[key]

    monkeypatch.setattr("pipelines.backends.cluster.plan.build_package", compiled_once)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PIPELINE_STORE", raising=False)
    Path("a.pt").write_bytes(b"PK\x03\x04a")
    Path("b.pt").write_bytes(b"PK\x03\x04b")
    Path("packed").mkdir()
    Path("packed/model.bento").write_bytes(b"\xfd7zXZ\x00")


def here(*names: str) -> tuple[Path, ...]:
    return tuple(Path(name).resolve() for name in names)


def addresses(*names: str) -> dict[Path, str]:
    return {path: f"s3://bucket/{path.name}" for path in here(*names)}


def test_each_training_of_a_sweep_may_start_from_other_local_weights() -> None:
    settings = '[{"start_from": "a.pt"}, {"start_from": "./b.pt", "lr0": 0.1}, {"start_from": "champion"}]'
    plan = make_plan(SWEEP, Wishes(settings=(STORE, f"settings={settings}")))
    assert plan.uploads == here("a.pt", "b.pt")
    sent = plan.arguments(addresses("a.pt", "b.pt"))["settings"]
    assert [one["start_from"] for one in sent] == ["s3://bucket/a.pt", "s3://bucket/b.pt", "champion"]


def test_an_executors_weights_may_be_several() -> None:
    named = json.dumps(["a.pt", "s3://else/where", str(Path("packed"))])
    plan = make_plan(EXECUTOR, Wishes(settings=(STORE, "image=x/y:1", f"pretrained={named}")))
    assert plan.uploads == here("a.pt", "packed")
    sent = json.loads(plan.arguments(addresses("a.pt", "packed"))["pretrained"])
    assert sent == ["s3://bucket/a.pt", "s3://else/where", "s3://bucket/packed"]


def test_of_a_folder_with_a_packed_model_the_model_goes() -> None:
    plan = make_plan(TRAINING, Wishes(settings=(STORE, "start_from=./packed")))
    assert plan.uploads == here("packed/model.bento")


def test_the_same_file_named_twice_goes_once() -> None:
    plan = make_plan(TRAINING, Wishes(settings=(STORE, "start_from=a.pt", "model=./a.pt")))
    assert plan.uploads == here("a.pt")


def test_a_name_is_made_for_data_whose_address_would_be_a_digest() -> None:
    Path("Street Signs").mkdir()
    Path("Street Signs/a.jpg").write_bytes(b"x")
    plan = make_plan(TRAINING, Wishes(settings=(STORE,), overrides={"source": "Street Signs"}))
    assert plan.arguments(addresses("Street Signs"))["name"] == "street-signs"
    assert "name" not in make_plan(TRAINING, Wishes(settings=(STORE, "source=s3://bucket/y"))).arguments({})
    chosen = make_plan(TRAINING, Wishes(settings=(STORE, "name=mine"), overrides={"source": "Street Signs"}))
    assert chosen.arguments(addresses("Street Signs"))["name"] == "mine"


def test_only_what_differs_from_the_packages_defaults_is_sent() -> None:
    wishes = Wishes(settings=(STORE, "epochs=0", "min_map50=0.5", "target_classes=[]", "seed=7", "rules={}"))
    plan = make_plan(TRAINING, wishes)
    assert plan.arguments({}) == {"store": "s3://bucket/prefix", "seed": 7}
    assert differing(plan.package, {"seed": 0, "no_such_parameter": 1}) == {}


def test_on_spot_nodes_own_labels_and_taints_stay() -> None:
    own = '[{"key": "mine", "operator": "Exists"}]'
    plan = make_plan(TRAINING, Wishes(settings=(STORE, f"tolerations={own}", "node_selector={a: b}"), spot=True))
    sent = plan.arguments({})
    assert sent["node_selector"] == {"a": "b", "karpenter.sh/capacity-type": "spot"}
    assert [one["key"] for one in sent["tolerations"]] == ["mine", "nvidia.com/gpu", "detection-pipeline/spot"]


def test_without_caching_a_training_begins_anew_unless_it_is_told_otherwise() -> None:
    assert make_plan(TRAINING, Wishes(settings=(STORE,), caching=False)).arguments({})["resume"] == "never"
    assert "resume" not in make_plan(TRAINING, Wishes(settings=(STORE, "resume=auto"), caching=False)).arguments({})


@pytest.mark.parametrize(
    ("pipeline", "settings", "words"),
    [
        (SWEEP, ["only_if_changed=true"], "only_if_changed"),
        (EXECUTOR, ["epochs=3"], "executor_config"),
        (EXECUTOR, ["command=true"], "a cluster has nothing else"),
        (TRAINING, ["start_from=none.pt/x"], "there is no such file"),
        (TRAINING, ["device=7", "model=nothing"], "model"),
    ],
)
def test_what_means_nothing_there_is_refused(pipeline: Any, settings: list[str], words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        make_plan(pipeline, Wishes(settings=(STORE, *settings)))


def test_the_gpus_of_this_machine_do_not_matter() -> None:
    assert make_plan(TRAINING, Wishes(settings=(STORE, "device=7"))).arguments({})["device"] == "7"


@pytest.mark.parametrize("store", ["", "runs/store", "file:///x", "gs://x/y", "https://x/y"])
def test_a_store_that_pods_cannot_see_is_refused(store: str) -> None:
    with pytest.raises(ConfigError, match=r"s3://bucket/prefix"):
        make_plan(TRAINING, Wishes(settings=(f"store={store}",) if store else ()))


@pytest.mark.parametrize(("source", "kept"), [("sample://workbench", True), ("s3://bucket/images", False)])
@pytest.mark.parametrize("pipeline", [TRAINING, SWEEP], ids=["training", "sweep"])
def test_only_a_source_that_never_changes_is_taken_from_the_clusters_cache(
    pipeline: Pipeline[Any], source: str, kept: bool
) -> None:
    settings = (f"source={source}", "store=s3://bucket/store")
    text = make_plan(pipeline, Wishes(settings=settings)).package.text
    spec = next(iter(yaml.load_all(text, Loader=yaml.CSafeLoader)))
    dags = [spec["root"], *spec["components"].values()]
    (load,) = [dag["dag"]["tasks"]["data-load"] for dag in dags if "data-load" in dag.get("dag", {}).get("tasks", {})]
    assert bool(load.get("cachingOptions", {}).get("enableCache")) is kept
