"""The Deployment serves the champion or what it served before, and never something that does not answer."""

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from components.model_deploy import cluster as api
from components.model_deploy import deploy, smoke
from components.model_deploy.cluster import Deployment, in_cluster
from components.model_deploy.deploy import deploy_champion
from components.model_publish.publish import publish
from components.shared.errors import ClusterAccessError, ClusterError, ConfigError
from components.shared.registry import read_record
from components.shared.store import open_store

HERE = Path(__file__).parent
SMALL: dict[str, Any] = runpy.run_path(str(HERE.parent / "model_publish" / "small_archive.py"))
CLUSTER: dict[str, Any] = runpy.run_path(str(HERE / "small_cluster.py"))
SmallCluster, serving, served = CLUSTER["SmallCluster"], CLUSTER["serving"], CLUSTER["served"]
FORMER = "f" * 64
Crown = Callable[[str], str]


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (api, deploy, smoke):
        monkeypatch.setattr(module, "PAUSE", 0.02)
    monkeypatch.setattr(deploy, "SMOKE_SECONDS", 0.3)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


@pytest.fixture
def crown(store: str, tmp_path: Path) -> Crown:
    def call(content: str) -> str:
        archive = SMALL["make_archive"](tmp_path / f"archive-{content}", content)
        predictions = SMALL["make_predictions"](tmp_path / f"predictions-{content}")
        return publish(archive, predictions, store, passed=True, proof={"tensors_compared": 1.0}).version

    return call


@pytest.fixture
def champion(crown: Crown) -> str:
    return crown("one")


@pytest.fixture
def cluster(store: str, champion: str) -> Iterator[Any]:
    made = SmallCluster(serving(FORMER))
    made.tags = {FORMER: "shapes:old", champion: read_record(open_store(store), "shapes", champion).archive.tag}
    with served(made):
        yield made


def deployment(cluster: Any, name: str = "serving") -> Deployment:
    settings = client.Configuration(host=cluster.address)
    settings.retries = False
    return Deployment(client.AppsV1Api(client.ApiClient(settings)), "here", name, address=cluster.address)


def test_the_champion_is_rolled_out_and_asked(cluster: Any, store: str, champion: str) -> None:
    told: list[str] = []
    cluster.looks = 3
    version = deploy_champion(
        deployment(cluster), store, "shapes", notify=lambda _share, message, **_: told.append(message)
    )
    assert (version, cluster.versions, cluster.version) == (champion, [champion], champion)
    assert "2 of 2 pods ready" in told
    assert told[-1] == "a first prediction"


def test_nothing_else_of_the_deployment_is_touched(cluster: Any, store: str, champion: str) -> None:
    deploy_champion(deployment(cluster), store, "shapes")
    after = cluster.deployment["spec"]["template"]["spec"]
    expected = serving(champion)["spec"]["template"]["spec"]
    assert after == expected


def test_a_deployment_that_serves_it_already_is_asked_and_not_changed(cluster: Any, store: str, champion: str) -> None:
    cluster.deployment = serving(champion)
    assert deploy_champion(deployment(cluster), store, "shapes") == champion
    assert cluster.versions == []


def test_pods_that_never_become_ready_are_rolled_back(cluster: Any, store: str, champion: str) -> None:
    cluster.stuck = {champion}
    with pytest.raises(ClusterError) as caught:
        deploy_champion(deployment(cluster), store, "shapes")
    assert cluster.versions == [champion, FORMER]
    assert str(caught.value) == (
        f"{champion[:12]!r} cannot be served (the Deployment 'serving' in 'here' got stuck: timed out);"
        " the Deployment 'serving' in 'here' serves 'ffffffffffff' again."
    )


@pytest.mark.parametrize("fault", ["broken", "another"])
def test_a_service_that_does_not_predict_with_the_champion_is_rolled_back(
    cluster: Any, store: str, champion: str, fault: str
) -> None:
    if fault == "broken":
        cluster.broken = {champion}
    else:
        cluster.tags[champion] = "shapes:other"
    words = "answered 503" if fault == "broken" else "it is 'shapes:other' that answered"
    with pytest.raises(ClusterError, match=words):
        deploy_champion(deployment(cluster), store, "shapes")
    assert cluster.versions == [champion, FORMER]


def test_a_rollout_that_takes_too_long_is_rolled_back(cluster: Any, store: str, champion: str) -> None:
    cluster.looks = 10_000
    with pytest.raises(ClusterError, match="did not come back to 'ffffffffffff' either"):
        deploy_champion(deployment(cluster), store, "shapes", patience=0.1)
    assert cluster.versions == [champion, FORMER]


def test_one_that_followed_the_alias_goes_back_to_the_champion_before(
    cluster: Any, store: str, champion: str, crown: Crown
) -> None:
    newer = crown("two")
    cluster.deployment, cluster.stuck = serving("champion"), {newer}
    with pytest.raises(ClusterError, match=f"serves {champion[:12]!r} again"):
        deploy_champion(deployment(cluster), store, "shapes")
    assert cluster.versions == [newer, champion]


def test_the_first_champion_has_nothing_to_go_back_to(cluster: Any, store: str, champion: str) -> None:
    cluster.deployment, cluster.stuck = serving("champion"), {champion}
    with pytest.raises(ClusterError, match="there is no version before to go back to"):
        deploy_champion(deployment(cluster), store, "shapes")


def test_without_replicas_the_version_is_set_and_nothing_is_asked(
    cluster: Any, store: str, champion: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.deployment, cluster.broken = serving(FORMER, replicas=0), {champion}
    assert deploy_champion(deployment(cluster), store, "shapes") == champion
    assert "has no replicas" in caplog.text


def test_a_failure_that_passes_is_outlived(cluster: Any, store: str, champion: str) -> None:
    cluster.failures = [500, 503, 429]
    assert deploy_champion(deployment(cluster), store, "shapes") == champion


@pytest.mark.parametrize(
    ("failures", "error", "words"),
    [
        ([403], ClusterAccessError, "may not be read by the account of this run"),
        ([500] * 5, ClusterError, "cannot be read: the API answers 500"),
    ],
)
def test_an_api_that_refuses_or_fails_is_a_sentence(
    cluster: Any, store: str, failures: list[int], error: type[ClusterError], words: str
) -> None:
    cluster.failures = failures
    with pytest.raises(error, match=words):
        deploy_champion(deployment(cluster), store, "shapes")


def test_a_deployment_that_is_not_there_or_not_ours_is_refused(cluster: Any, store: str) -> None:
    with pytest.raises(ClusterAccessError, match="'nothing' in 'here' is not there"):
        deploy_champion(deployment(cluster, "nothing"), store, "shapes")
    cluster.deployment = serving(FORMER, variable="OTHER")
    with pytest.raises(ClusterAccessError, match="has the variable MODEL_VERSION"):
        deploy_champion(deployment(cluster), store, "shapes")
    assert cluster.versions == []


def test_a_model_without_a_champion_is_refused(cluster: Any, store: str) -> None:
    with pytest.raises(ConfigError, match="The model 'cars' has no champion"):
        deploy_champion(deployment(cluster), store, "cars")


def test_outside_of_a_cluster_there_is_nothing_to_deploy_to() -> None:
    with pytest.raises(ClusterAccessError, match="deploy is for runs in a cluster"):
        in_cluster("serving")
