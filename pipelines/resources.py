"""What each step's pod asks of the cluster: CPU, memory, time, retries, credentials and where it may run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

from components.shared.step import NODE, POD, RUN_ID
from pipelines.placement import GPU_TOLERATION

PART_OF = "detection-pipeline"
LABEL_PART_OF = "app.kubernetes.io/part-of"
LABEL_STEP = "detection.pipeline/step"
LABEL_PIPELINE = "detection.pipeline/name"

STORE = "s3://detection/store"  # where manifests/ puts it: the default of runs that are begun in Kubeflow's own pages
STORE_SECRET = "detection-store"  # noqa: S105 - a name; its keys are the variables' names
SOURCES_SECRET = "detection-sources"  # noqa: S105 - same
REGISTRY_SECRET = "detection-registry"  # noqa: S105 - same
CA_SECRET = "detection-ca"  # noqa: S105 - same; its files lie below CA_FOLDER
CA_FOLDER = "/etc/detection-ca"
STORE_REQUIRED = ("S3_ENDPOINT_URL",)
STORE_OPTIONAL = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "S3_TIMEOUT_SECONDS",
    "SSL_CERT_FILE",
)
SOURCES = ("PIPELINE_SQL_PASSWORD", "PIPELINE_SQL_IMAGES", "LABEL_STUDIO_API_KEY", "LABEL_STUDIO_URL")
REGISTRY = ("MODEL_REGISTRY_TOKEN",)

SCRATCH = "/scratch"  # a folder of the pod's own on the node's disk; it is there when the root is read-only
SCRATCH_VARIABLES = {"TMPDIR": SCRATCH, "PIPELINE_CACHE": f"{SCRATCH}/cache"}
RUN_ID_LABEL = "metadata.labels['pipeline/runid']"

USER, GROUP = 10001, 0  # whom our images run as

MINUTE, HOUR, DAY = 60, 3600, 86400
RUN_SECONDS = 7 * DAY  # a pod nobody can schedule waits no longer
KEPT_SECONDS = 3 * DAY  # a finished run's pods and their logs; Kubeflow's default is an hour

CLUSTER = dsl.PipelineConfig(active_deadline_seconds=RUN_SECONDS, ttl_seconds_after_finished=KEPT_SECONDS)


@dataclass(frozen=True)
class Needs:
    """What a step's pod asks for; request and limit are ``(least, most)``, times are seconds.

    Attributes:
        cpu: CPUs, as Kubernetes spells them.
        memory: likewise.
        timeout: how long one attempt may run once it is on a node.
        retries: further attempts after the first.
        backoff: before the first retry; each later one waits twice as long.
        shared_memory: whether worker processes hand images over in ``/dev/shm``.
        secrets: further secrets and their keys, each optional.
    """

    cpu: tuple[str, str]
    memory: tuple[str, str]
    timeout: int
    retries: int = 2
    backoff: int = 30
    shared_memory: bool = False
    secrets: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def window(self) -> int:
        """Seconds within which Argo still begins a retry, counted from the first attempt: enough for every attempt."""
        return (self.retries + 1) * self.timeout + (self.backoff << self.retries)


TABLE: dict[str, Needs] = {
    "data_load": Needs(("1", "4"), ("1Gi", "4Gi"), 12 * HOUR, secrets=((SOURCES_SECRET, SOURCES),)),
    "data_prep": Needs(("1", "4"), ("2Gi", "8Gi"), 4 * HOUR),
    "change_check": Needs(("100m", "1"), ("256Mi", "1Gi"), 10 * MINUTE),
    "model_train": Needs(("4", "4"), ("16Gi", "16Gi"), 2 * DAY, retries=3, backoff=60, shared_memory=True),
    "sweep_select": Needs(("500m", "2"), ("1Gi", "4Gi"), HOUR),
    "model_pack": Needs(("2", "4"), ("4Gi", "12Gi"), 4 * HOUR, shared_memory=True),
    "model_eval": Needs(("2", "4"), ("4Gi", "12Gi"), 6 * HOUR, shared_memory=True),
    "model_test": Needs(("2", "4"), ("4Gi", "12Gi"), 2 * HOUR, shared_memory=True),
    "model_publish": Needs(("500m", "2"), ("512Mi", "4Gi"), HOUR, secrets=((REGISTRY_SECRET, REGISTRY),)),
    "model_deploy": Needs(("100m", "1"), ("256Mi", "1Gi"), HOUR, retries=1),
    "run_record": Needs(("100m", "1"), ("256Mi", "1Gi"), 10 * MINUTE),
    "executor_stage": Needs(("1", "4"), ("2Gi", "8Gi"), 4 * HOUR),
    "executor_run": Needs(("4", "8"), ("16Gi", "32Gi"), 2 * DAY, retries=1, backoff=60, shared_memory=True),
    "executor_collect": Needs(("500m", "2"), ("1Gi", "4Gi"), HOUR),
}
"""One row a step; the training's CPU and memory are the pipeline's parameters where it has them."""

FOREIGN = frozenset({"executor_run"})  # not our image: it runs as whom it was built for

UNCACHED = frozenset({"data_load", "change_check", "model_publish", "model_deploy", "run_record", "executor_run"})
"""Steps whose result depends on more than what goes in: what a source holds today, the champion, the cluster."""

NEVER_HERE = UNCACHED - {"data_load"}
"""Likewise on this machine, where the cache looks at a source's content itself."""


def settle(task: Any, step: str, given: Mapping[str, Any], pipeline: str) -> None:  # noqa: ANN401 - kfp ships no types
    """Give a task of the cluster's DAG all it needs there.

    Args:
        task: KFP's task.
        step: whose row of ``TABLE`` counts.
        given: the pipeline's parameters, as KFP hands them to the DAG.
        pipeline: the pipeline's name, for the pods' labels.
    """
    needs = TABLE[step]
    if step in UNCACHED:
        task.set_caching_options(enable_caching=False)
    _set_size(task, needs)
    _set_time(task, needs)
    _set_environment(task, needs)
    labels = {LABEL_PART_OF: PART_OF, LABEL_STEP: step, LABEL_PIPELINE: pipeline}
    for key, value in labels.items():  # as many for each step: Argo's templates are shared by their number
        kubernetes.add_pod_label(task, label_key=key, label_value=value)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    if step not in FOREIGN:
        kubernetes.set_security_context(task, run_as_user=USER, run_as_group=GROUP, run_as_non_root=True)
    if step == "model_train":
        place_training(task, given)
    elif step == "executor_run":
        _give_gpus(task, given["gpu_count"])


def place_training(task: Any, given: Mapping[str, Any]) -> None:  # noqa: ANN401 - same
    """Let the pipeline's parameters say on which nodes a training runs and with what.

    Kubeflow's compiler forgets to hand the parameters of ``set_*_limit`` into a group (a condition, a loop, an exit
    handler), so each is registered as the helpers of ``kfp.kubernetes`` do with theirs.
    """
    task.set_cpu_request(given["train_cpu"]).set_cpu_limit(given["train_cpu"])
    task.set_memory_request(given["train_memory"]).set_memory_limit(given["train_memory"])
    task.set_accelerator_type(given["accelerator"]).set_accelerator_limit(given["gpus"])
    task.register_pipeline_channels([given[name] for name in ("train_cpu", "train_memory", "accelerator", "gpus")])
    kubernetes.add_node_selector_json(task, given["node_selector"])
    kubernetes.add_toleration_json(task, given["tolerations"])
    kubernetes.add_node_affinity_json(task, given["affinity"])


def _give_gpus(task: Any, count: Any) -> None:  # noqa: ANN401 - same
    task.set_accelerator_type(GPU_TOLERATION["key"]).set_accelerator_limit(count)
    task.register_pipeline_channels([count])
    kubernetes.add_toleration(task, **GPU_TOLERATION)


def _set_size(task: Any, needs: Needs) -> None:  # noqa: ANN401 - same
    task.set_cpu_request(needs.cpu[0]).set_cpu_limit(needs.cpu[1])
    task.set_memory_request(needs.memory[0]).set_memory_limit(needs.memory[1])
    kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path=SCRATCH)
    if needs.shared_memory:
        kubernetes.empty_dir_mount(task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory")  # noqa: S108


def _set_time(task: Any, needs: Needs) -> None:  # noqa: ANN401 - same
    """Without ``backoff_max_duration`` Kubeflow's default of an hour would end every later attempt.

    A preempted training goes on from its checkpoint in the next attempt. How long a pod is given to save, Kubeflow
    lets nobody say: it is Kubernetes' 30 s, and what is not saved by then is lost back to the last checkpoint.
    """
    kubernetes.set_timeout(task, needs.timeout)
    task.set_retry(
        num_retries=needs.retries,
        backoff_duration=f"{needs.backoff}s",
        backoff_factor=2.0,
        backoff_max_duration=f"{needs.window}s",
    )


def _set_environment(task: Any, needs: Needs) -> None:  # noqa: ANN401 - same
    """A forgotten store is noticed by Kubernetes at once; what not every store needs is optional."""
    for name, value in SCRATCH_VARIABLES.items():
        task.set_env_variable(name, value)
    fields = {RUN_ID: RUN_ID_LABEL, POD: "metadata.name", NODE: "spec.nodeName"}
    for name, path in fields.items():
        kubernetes.use_field_path_as_env(task, env_name=name, field_path=path)
    kubernetes.use_secret_as_env(task, STORE_SECRET, {key: key for key in STORE_REQUIRED})
    kubernetes.use_secret_as_env(task, STORE_SECRET, {key: key for key in STORE_OPTIONAL}, optional=True)
    for secret, keys in needs.secrets:
        kubernetes.use_secret_as_env(task, secret, {key: key for key in keys}, optional=True)
    kubernetes.use_secret_as_volume(task, CA_SECRET, mount_path=CA_FOLDER, optional=True)
