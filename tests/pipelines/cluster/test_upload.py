"""A package becomes a pipeline's version once, whoever else uploads it at the same time."""

import hashlib

import pytest

from components.shared.errors import ClusterAccessError, ClusterError, ConfigError
from pipelines.backends.cluster.connection import Cluster, Endpoint, connect
from pipelines.backends.cluster.start import Job, check_version, start_run
from pipelines.backends.cluster.upload import Uploaded, experiment_id, upload_package, version_name
from pipelines.packages import Package
from tests.pipelines.cluster.kfp_stub import KfpStub

IR = """\
pipelineInfo: {name: p}
root:
  dag: {tasks: {}}
  inputDefinitions: {parameters: {epochs: {parameterType: NUMBER_INTEGER, defaultValue: 3}}}
deploymentSpec: {executors: {}}
---
platforms: {kubernetes: {}}
"""


def package(text: str = IR) -> Package:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Package("training", "detector-training", text, digest, f"0.1.0+abc-{digest[:12]}")


@pytest.fixture
def cluster(kfp: KfpStub) -> Cluster:
    return connect(Endpoint(host=kfp.url))


def test_a_package_is_uploaded_once_and_other_content_is_another_version(kfp: KfpStub, cluster: Cluster) -> None:
    first = upload_package(cluster, package())
    assert first.new
    assert kfp.packages[first.version_id] == IR
    assert kfp.versions[first.version_id].name == version_name(package())
    again = upload_package(cluster, package())
    assert (again.version_id, again.new) == (first.version_id, False)
    other = upload_package(cluster, package(IR.replace("3", "4")))
    assert other.pipeline_id == first.pipeline_id
    assert other.version_id != first.version_id
    assert len(kfp.asked("POST", "upload_version")) == 2
    assert len(kfp.pipelines) == 1


def test_the_versions_name_is_one_that_a_kubernetes_object_may_have() -> None:
    assert version_name(package()).startswith("0.1.0-abc-")


@pytest.mark.parametrize("fault", [{"cut": "after"}, {"cut": "before"}, {"status": 503}, {"cut": "middle"}])
@pytest.mark.parametrize("path", ["/pipelines", "/pipelines/upload_version"])
def test_a_lost_answer_to_an_upload_makes_no_second_version(
    kfp: KfpStub, cluster: Cluster, fault: dict[str, object], path: str
) -> None:
    kfp.plant(path, method="POST", **fault)
    made = upload_package(cluster, package())
    assert list(kfp.versions) == [made.version_id]
    assert list(kfp.pipelines) == [made.pipeline_id]


def test_who_loses_a_race_takes_the_winners_version(
    kfp: KfpStub, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = kfp.add_pipeline("detector-training")
    seen = kfp.answer

    def somebody_else_is_faster(one: object) -> object:
        if "upload_version" in one.path and not kfp.versions:  # type: ignore[attr-defined]
            kfp.add_version(pipeline.pipeline_id, version_name(package()), IR)
        return seen(one)  # type: ignore[arg-type]

    monkeypatch.setattr(kfp, "answer", somebody_else_is_faster)
    made = upload_package(cluster, package())
    assert (made.new, [made.version_id]) == (False, list(kfp.versions))


def test_a_version_that_exists_and_is_not_listed_is_told(kfp: KfpStub, cluster: Cluster) -> None:
    kfp.plant("upload_version", status=409)
    with pytest.raises(ClusterError, match="does not list it"):
        upload_package(cluster, package())


def test_among_many_versions_the_right_one_is_found(kfp: KfpStub, cluster: Cluster) -> None:
    pipeline = kfp.add_pipeline("detector-training")
    for number in range(250):
        kfp.add_version(pipeline.pipeline_id, f"v{number}", "root: {}")
    wanted = kfp.add_version(pipeline.pipeline_id, version_name(package()), IR)
    assert upload_package(cluster, package()).version_id == wanted.pipeline_version_id


def test_an_experiment_is_made_once_in_the_users_namespace(kfp: KfpStub) -> None:
    kfp.health["multi_user"] = True
    kfp.add_experiment("mine", namespace="theirs")
    cluster = connect(Endpoint(host=kfp.url, namespace="team"))
    made = experiment_id(cluster, "mine")
    assert kfp.experiments[made].namespace == "team"
    assert experiment_id(cluster, "mine") == made
    assert len(kfp.experiments) == 2
    upload_package(cluster, package())
    (pipeline,) = kfp.pipelines.values()
    assert pipeline.namespace == "team"


def test_without_a_namespace_nothing_is_made_where_there_are_several_users(kfp: KfpStub, cluster: Cluster) -> None:
    kfp.health["multi_user"] = True
    with pytest.raises(ConfigError, match="--namespace"):
        experiment_id(cluster, "mine")
    assert kfp.asked("POST") == []


@pytest.mark.parametrize("fault", [{"cut": "after"}, {"cut": "before"}, {"cut": "middle"}, {"status": 500}])
def test_a_run_is_started_once_when_the_answer_is_lost(
    kfp: KfpStub, cluster: Cluster, fault: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.backends.cluster.start.pause", lambda _: None)
    version = upload_package(cluster, package())
    experiment = experiment_id(cluster, "e")
    kfp.add_run("one", experiment_id=experiment, description="somebody else's")
    kfp.plant("/runs", method="POST", **fault)
    run_id = start_run(cluster, Job("one", experiment, version, {"epochs": 5}, "trainer"))
    assert len(kfp.runs) == 2
    run = kfp.runs[run_id]
    assert (run.runtime_config.parameters, run.service_account) == ({"epochs": 5}, "trainer")
    assert run.pipeline_version_reference.pipeline_version_id == version.version_id


@pytest.mark.parametrize("arguments", [{"epoch": 5}, {"epochs": "five"}])
def test_a_run_with_wrong_parameters_is_refused_in_the_servers_words(
    kfp: KfpStub, cluster: Cluster, arguments: dict[str, object]
) -> None:
    job = Job("one", experiment_id(cluster, "e"), upload_package(cluster, package()), arguments)
    with pytest.raises(ClusterAccessError, match=r"could not start the run 'one' \(status 400\): Invalid input"):
        start_run(cluster, job)
    assert kfp.runs == {}


def test_a_server_that_stays_broken_is_told_after_a_few_tries(
    kfp: KfpStub, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.backends.cluster.start.pause", lambda _: None)
    kfp.plant("/runs", method="POST", status=500, times=99)
    with pytest.raises(ClusterError, match="status 500"):
        start_run(cluster, Job("one", "e", Uploaded("p", "v", new=True), {}))
    assert len(kfp.asked("POST", "/runs")) == 4


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("2.15.0", ""),
        ("v2.17.3", ""),
        ("2.16.0-rc.1", ""),
        ("2.18.0", "newer than 2.17"),
        ("3.0", "newer than 2.17"),
        ("unknown", "does not say its version"),
    ],
)
def test_a_version_is_warned_of_when_it_is_another(kfp: KfpStub, cluster: Cluster, version: str, words: str) -> None:
    kfp.health["tag_name"] = version
    warning = check_version(cluster.health)
    assert (words in warning) if words else (warning == "")


@pytest.mark.parametrize("version", ["2.14.3", "2.0.5", "1.8.22"])
def test_a_version_that_is_too_old_is_refused(kfp: KfpStub, cluster: Cluster, version: str) -> None:
    kfp.health["tag_name"] = version
    with pytest.raises(ClusterAccessError, match=r"need 2\.15 or newer: upgrade it"):
        check_version(cluster.health)
