"""The KFP shells of executor_train: stage the data, run the foreign image, collect what it left."""

from kfp.dsl import (
    HTML,
    Artifact,
    ContainerSpec,
    Dataset,
    Input,
    Metrics,
    Output,
    OutputPath,
    component,
    container_component,
)

from components.artifacts import TrainedModel
from components.executor_train.script import SCRIPT  # a text and nothing else: the DAG loads without the step


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def executor_stage(
    train: Input[Dataset],
    val: Input[Dataset],
    store: str,
    staged: Output[Artifact],
    export_format: str = "",
    executor_template: str = "",
    executor_config: str = "",
    pretrained: str = "",
    gpu_count: str = "0",
    shm_size: str = "16G",
    longest_edge: int = 0,
    image_format: str = "keep",
) -> None:
    """Write what a YMIR training image finds in /in, as one tar.

    Args:
        train: Images to train on.
        val: Images to validate on.
        store: Where the images lie.
        staged: The tar with /in and an empty /out.
        export_format: How annotations are written: ark:raw, voc:raw or coco:raw; empty: as the template says.
        executor_template: Values of the image's training template, as YAML; empty: the image fills its own ones in.
        executor_config: Values that win over the template's, as YAML or JSON.
        pretrained: Weights to start from: a file, a folder or s3://.
        gpu_count: GPUs the executor may use, a number as text; 0: none.
        shm_size: Shared memory the executor is told it has.
        longest_edge: Scale images down to this longest edge, in pixels; 0: as they are.
        image_format: keep, jpeg or png.
    """
    from dataclasses import asdict
    from pathlib import Path

    from components.executor_train.settings import read_settings
    from components.executor_train.stage import stage_data
    from components.shared.materialise import ImageOptions
    from components.shared.step import run_step

    made = run_step(
        "executor_stage",
        store,
        lambda notify: stage_data(
            (Path(train.path), Path(val.path)),
            store,
            read_settings(
                template=executor_template,
                config=executor_config,
                export_format=export_format,
                gpu_count=int(gpu_count),
                shm_size=shm_size,
            ),
            Path(staged.path),
            pretrained=pretrained,
            images=ImageOptions(longest_edge=longest_edge, format=image_format),
            notify=notify,
        ),
    )
    staged.metadata.update(asdict(made))


@container_component
def executor_run(
    staged: Input[Artifact],
    result: Output[Artifact],
    exit_code: OutputPath(int),  # type: ignore[valid-type] # what KFP asks for
    command: str = "",
) -> ContainerSpec:
    """Run a YMIR training image and keep what it leaves, whether it failed or not.

    Args:
        staged: The tar with /in and an empty /out.
        result: A tar of what the executor left in /out.
        exit_code: What the executor ended with; executor_collect says what it means.
        command: What starts the executor; empty: bash /usr/bin/start.sh.
    """
    return ContainerSpec(
        image="ymir-executor",
        command=["bash", "-c", SCRIPT, "executor"],
        args=[staged.path, result.path, exit_code, command],
    )


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def executor_run_here(
    staged: Input[Artifact],
    store: str,
    result: Output[Artifact],
    exit_code: OutputPath(int),  # type: ignore[valid-type] # what KFP asks for
    image: str = "",
    command: str = "",
    gpu_count: str = "0",
    shm_size: str = "16G",
) -> None:
    """Run an executor on this machine, as executor_run does in its image.

    Args:
        staged: The tar with /in and an empty /out.
        store: Where the progress is kept.
        result: A tar of what the executor left in /out.
        exit_code: What the executor ended with; executor_collect says what it means.
        image: The image to run with docker or podman, when there is no command.
        command: What starts the executor on this machine, without a container.
        gpu_count: GPUs the executor may use, a number as text; 0: none.
        shm_size: Shared memory a container gets.
    """
    from pathlib import Path

    from components.executor_train.run import Machine, run_executor
    from components.shared.step import run_step

    run_step(
        "executor_run_here",
        store,
        run_executor,
        Path(staged.path),
        Path(result.path),
        Path(exit_code),
        Machine(image=image, command=command, gpu_count=int(gpu_count), shm_size=shm_size),
    )


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def executor_collect(
    train: Input[Dataset],
    val: Input[Dataset],
    result: Input[Artifact],
    exit_code: int,
    store: str,
    model: Output[TrainedModel],
    metrics: Output[Metrics],
    report: Output[HTML],
    image: str = "",
    command: str = "",
) -> None:
    """Say how the executor fared, and keep the best of its models.

    The model is kept, versioned and hashed, but this project's service has no runtime for it: it cannot be packed.

    Args:
        train: What it was trained on.
        val: What it was validated on.
        result: The tar of what the executor left in /out.
        exit_code: What the executor ended with.
        store: Where the images lie.
        model: The files of the best stage, as they are, and a manifest.
        metrics: What the executor measured.
        report: The verdict, the stages and the executor's last words, for a person.
        image: The executor's image.
        command: What started it, where it was no image.
    """
    from pathlib import Path

    from components.executor_train.collect import collect_model
    from components.shared.step import run_step

    manifest = run_step(
        "executor_collect",
        store,
        collect_model,
        (Path(train.path), Path(val.path)),
        store,
        Path(result.path),
        exit_code,
        Path(model.path),
        Path(report.path),
        executor=image or command,
    )
    model.metadata.update(digest=manifest.digest, framework=manifest.framework)
    metrics.metadata.update(manifest.metrics)
