"""The one definition of every pipeline parameter: name, type, default, bounds and help text."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.shared.expression import parse
from components.shared.hyperparameters import check_options
from components.shared.presets import TORCHVISION_MODELS, UNSET, is_torchvision, with_preset
from components.shared.runtimes import check_runtimes
from pipelines.placement import (
    ACCELERATOR_PATTERN,
    DEPLOYMENT_PATTERN,
    GPU_TOLERATION,
    QUANTITY_PATTERN,
    NodeAffinity,
    NodeSelector,
    Tolerations,
)

Share = Annotated[float, Field(gt=0, lt=1)]
Proportion = Annotated[float, Field(ge=0, le=1)]
NAME_PATTERN = r"^([a-z0-9][a-z0-9._-]{0,62})?$"
LEAST_IMGSZ = 32  # pixels
LEAST_TILE, LEAST_EDGE = 32, 10  # pixels; below, there is nothing to learn or the trainer skips the image
MODEL_PATTERN = r"^$|.\.(yaml|yml|pt)$|^(" + "|".join(TORCHVISION_MODELS) + ")$"


class TrainingConfig(BaseModel):
    """Parameters of the training pipeline, in the order in which people meet them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(
        "sample://workbench",
        min_length=1,
        description="Where the annotated images are: a folder, a .zip or .tar(.gz), s3://bucket/prefix or object, an "
        "https:// archive, a database (postgresql+psycopg://...), labelstudio://host/project or sample://workbench; "
        "several as a JSON list.",
    )
    format: Literal[
        "auto", "coco", "yolo", "voc", "ymir", "groundtruth", "labelstudio",
        "cvat", "openimages", "kitti", "labelme", "datumaro",
    ] = Field("auto", description="Annotation format of the source; auto looks at the files.")  # fmt: skip
    label_attribute: str = Field(
        "", description="Label attribute of a Ground Truth manifest; empty: the newest bounding boxes."
    )
    name_conflicts: Literal["stop", "first", "last"] = Field(
        "stop", description="When merged sources have different images of one name: stop, or keep the first or last."
    )
    sql_query: str = Field(
        "", description="Query of a database source; columns: image, label, x, y, width, height (see data_load)."
    )
    allow_private_addresses: bool = Field(
        default=False,
        description="Let sources be http:// and lie on private, loopback and link-local addresses, proxies included.",
    )
    max_download_gb: float = Field(100.0, gt=0, le=100_000, description="Stop a download that is larger, in GB.")
    name: str = Field(
        "",
        pattern=NAME_PATTERN,
        description="Name of the dataset and of the model in the store; empty: after the last part of the source.",
    )
    store: str = Field(
        "file://runs/store",
        min_length=1,
        description="Where datasets and models are kept: file:///folder or s3://bucket/prefix.",
    )
    sample_images: int = Field(240, ge=20, le=100_000, description="Number of images of the built-in sample.")
    sample_edge: int = Field(320, ge=96, le=4096, description="Image edge of the built-in sample, in pixels.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of the sample, the split and the training.")

    subset: str = Field(
        "", description='Which images to use, such as folder == "site-a" and boxes > 0; empty: all (see data_prep).'
    )
    target_classes: list[str] = Field(
        default_factory=list, description="Classes to train on, as a JSON list; empty: all of them."
    )
    drop_classes: list[str] = Field(default_factory=list, description="Classes to leave out, as a JSON list.")
    class_aliases: dict[str, str] = Field(
        default_factory=dict, description='Names that mean another class, as a JSON object: {"lorry": "truck"}.'
    )
    unknown_classes: Literal["ignore", "add", "stop"] = Field(
        "ignore", description="Annotations of a class the source does not declare: ignore (ledger), add it, or stop."
    )
    rules: dict[str, str] = Field(
        default_factory=dict,
        description='What each broken rule does (fix, reject or keep), where not the default: {"clipped": "reject"}.',
    )
    min_box_size: float = Field(
        2.0, ge=0, le=1000, description="Reject boxes whose shorter side is below this, in pixels."
    )
    max_rejected_share: float = Field(
        0.2, ge=0, le=1, description="Fail when more than this share of images or boxes had to be rejected."
    )
    split: Literal["auto", "source", "random"] = Field(
        "auto", description="Use the source's own split (source), a seeded one (random), or the first where it exists."
    )
    train_share: Share = Field(0.7, description="Share of the images to train on.")
    val_share: Share = Field(0.15, description="Share of the images to validate on while training.")
    test_share: Share = Field(0.15, description="Share of the images held out for the evaluation.")
    val_images: int = Field(0, ge=0, description="Size of val in images instead of val_share; 0: by share.")
    test_images: int = Field(0, ge=0, description="Size of test in images instead of test_share; 0: by share.")
    group_by: str = Field(
        "", description="Keep images together in one split: folder, tag:<name> or name:<pattern>; empty: no groups."
    )
    near_duplicates: int = Field(
        4, ge=-1, le=16, description="Keep images together that differ in at most so many of 64 hash bits; -1: off."
    )
    max_class_share: float = Field(
        1.0, gt=0, le=1, description="Leave out training images of a class that has more than this share; 1: none."
    )
    oversample_below: float = Field(
        0.0, ge=0, le=1, description="Show images of classes on less than this share of the images more often; 0: off."
    )
    tile: int = Field(
        0, ge=0, le=16384, description="Cut larger training images into tiles of this edge, in pixels; 0: no tiles."
    )
    tile_overlap: float = Field(0.2, ge=0, lt=0.9, description="Share of its edge a tile has in common with the next.")
    tile_min_visible: float = Field(
        0.3, gt=0, le=1, description="Least share of a box inside a tile for the tile to show it."
    )
    longest_edge: int = Field(
        0, ge=0, le=16384, description="Scale training images down to this longest edge, in pixels; 0: as they are."
    )
    image_format: Literal["keep", "jpeg", "png"] = Field(
        "keep", description="Format the training images are written in; keep: as they are where the trainer reads it."
    )

    preset: Literal["quick", "balanced", "best"] = Field(
        "quick",
        description="What is left to the preset below: quick (yolo11n.yaml, 25 epochs at 128 px), balanced "
        "(yolo11s.pt, 100 at 640 px) or best (yolo11m.pt, 300 at 640 px).",
    )
    model: str = Field(
        "",
        pattern=MODEL_PATTERN,
        description="What to train: a model YAML from scratch (yolo11n.yaml), weights that transfer what they learned "
        "(yolo11n.pt, a file), or a torchvision model (fasterrcnn_resnet50_fpn_v2); empty: by preset.",
    )
    start_from: str = Field(
        "",
        description="Weights to start from: champion, a version, NAME@champion of another model, official weights "
        "(yolo11n.pt, or coco for a torchvision model), a file or s3:// object; empty: those model names, or none.",
    )
    epochs: int = Field(0, ge=0, le=10_000, description="Passes over the training images; 0: by preset.")
    batch: int = Field(
        0, ge=-1, le=4096, description="Images an optimiser step; 0: by preset; -1: as many as fit the GPU."
    )
    imgsz: int = Field(0, ge=0, le=4096, description="Longest edge images are scaled to, in pixels; 0: by preset.")
    lr0: float = Field(0.0, ge=0, le=1, description="Initial learning rate; 0: by preset.")
    optimizer: Literal[
        "preset", "auto", "SGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp", "MuSGD"
    ] = Field(
        "preset", description="Optimiser; auto lets the library choose it and the learning rate."
    )  # fmt: skip
    warmup_epochs: float = Field(
        -1.0, ge=-1, le=100, description="Epochs over which the learning rate rises; -1: by preset."
    )
    close_mosaic: int = Field(
        -1, ge=-1, le=10_000, description="Switch mosaic augmentation off for the last epochs; -1: by preset."
    )
    freeze: int = Field(0, ge=0, le=100, description="Freeze this many of the first layers.")
    hyperparameters: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description='The library\'s other hyperparameters: {"mosaic": "0.5", "cos_lr": "true"} (see model_train).',
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|\d+)$",
        description="auto (a GPU when there is one), cpu, or the number of a GPU: 0.",
    )
    gpus: int = Field(
        1, ge=0, le=16, description="GPUs of the node to train on at once; 0: train on CPUs, in a cluster without one."
    )
    patience: int = Field(
        -1, ge=-1, le=10_000, description="Stop after this many epochs without a better mAP; 0: never; -1: by preset."
    )
    max_hours: float = Field(
        0.0, ge=0, le=10_000, description="Stop with the best weights so far after this many hours; 0: no limit."
    )
    attempt_hours: float = Field(
        0.0, ge=0, le=10_000, description="Save and end one attempt after this many hours, for a retry; 0: no limit."
    )
    resume: Literal["auto", "never"] = Field(
        "auto", description="Go on from this training's checkpoint; never: begin anew, unless it is this run's own."
    )
    checkpoint_minutes: float = Field(5.0, ge=0, le=10_000, description="Least minutes between two checkpoints.")
    checkpoint_epochs: int = Field(1, ge=1, le=10_000, description="Epochs between two checkpoints.")
    overfitting: Literal["off", "warn", "stop"] = Field(
        "warn", description="What to do when the validation loss rises while the training loss falls."
    )
    overfit_patience: int = Field(
        10, ge=1, le=10_000, description="Epochs the validation loss may stay above its minimum before that."
    )

    runtimes: list[str] = Field(
        default_factory=lambda: ["onnx"],
        description="Faster forms of the model to pack beside its weights, as a JSON list: onnx, onnx-int8, openvino, "
        "openvino-bf16 (fast on CPUs that have it), torchscript, tensorrt (with a GPU).",
    )
    serve_runtime: str = Field(
        "auto",
        description="What serves on a CPU: auto (the fastest that keeps the accuracy), torch or one of runtimes.",
    )
    max_drop: float = Field(0.01, ge=0, le=1, description="Leave out a runtime that loses more mAP50-95 than this.")
    runtime_images: int = Field(
        64, ge=0, description="Validation images the runtimes are measured and calibrated on; 0: all."
    )
    predict_tile: int = Field(
        -1,
        ge=-1,
        le=16384,
        description="Cut larger images into tiles of this edge when predicting, in pixels; 0: never; -1: as tile.",
    )
    tile_merge: Literal["nms", "wbf"] = Field(
        "nms", description="How boxes of neighbouring tiles become one: suppression or weighted fusion."
    )

    min_map50: float = Field(
        0.5, ge=0, le=1, description="Quality gate: the test split's mAP50 a model needs to become the champion."
    )
    min_map50_95: float = Field(0.0, ge=0, le=1, description="Quality gate: likewise its mAP50-95; 0: none.")
    class_gates: dict[str, Proportion] = Field(
        default_factory=dict, description='Quality gate: AP50 a class needs, as a JSON object: {"car": 0.6}.'
    )
    slice_gates: dict[str, Proportion] = Field(
        default_factory=dict,
        description='Quality gate: recall a slice needs: {"size:small": 0.3} (the report names the slices).',
    )
    champion_margin: float = Field(
        0.05,
        ge=-1,
        le=1,
        description="Quality gate: mAP50-95 a model may be worse than the champion on the same test images, at the "
        "lower end of the 95 % interval; negative: not compared.",
    )
    proof_images: int = Field(
        8, ge=0, le=10_000, description="Validation images the packed model is compared with the trained one on."
    )
    load_seconds: float = Field(
        3.0, ge=0, le=3600, description="How long the packed service is asked by several clients at once; 0: not."
    )
    max_latency_ms: float = Field(
        0.0, ge=0, description="What 95 % of its answers may take under that load, in milliseconds; 0: any."
    )
    model_registry: str = Field(
        "",
        pattern=r"^(https?://[^\s@]+)?$",
        description="Address of a Kubeflow Model Registry to tell of published models; empty: none.",
    )
    deploy: str = Field(
        "",
        pattern=DEPLOYMENT_PATTERN,
        description="In a cluster: the Deployment that is to serve a new champion; empty: none.",
    )
    only_if_changed: bool = Field(
        default=False,
        description="End at once as unchanged when data, parameters and code are those the champion came from.",
    )
    train_cpu: str = Field(
        "4", pattern=QUANTITY_PATTERN, description="In a cluster: CPUs the training asks for and gets, such as 4."
    )
    train_memory: str = Field(
        "16Gi",
        pattern=QUANTITY_PATTERN,
        description="In a cluster: memory the training asks for and gets, /dev/shm included, such as 16Gi.",
    )
    accelerator: str = Field(
        "nvidia.com/gpu", pattern=ACCELERATOR_PATTERN, description="In a cluster: the resource that gpus counts."
    )
    node_selector: NodeSelector = Field(
        default_factory=dict,
        description='In a cluster: labels of the nodes to train on: {"karpenter.sh/capacity-type": "spot"}.',
    )
    tolerations: Tolerations = Field(
        default_factory=lambda: [dict(GPU_TOLERATION)],
        description="In a cluster: taints of nodes the training may run on all the same, as a JSON list.",
    )
    affinity: NodeAffinity = Field(
        default_factory=dict, description="In a cluster: node affinity of the training, as Kubernetes' own JSON."
    )

    @model_validator(mode="after")
    def _can_be_prepared(self) -> Self:
        """What data_prep would refuse hours later, as far as it can be told without the data."""
        if self.rules:
            from components.shared.rules import resolve_rules  # noqa: PLC0415 - loads polars

            resolve_rules(self.rules)
        if self.subset.strip():
            expression = parse(self.subset)
            if "matches" in self.subset:
                from components.shared.patterns import check_patterns  # noqa: PLC0415 - same

                check_patterns(expression)
        if self.group_by:
            from components.shared.grouping import check_group_by  # noqa: PLC0415 - same

            check_group_by(self.group_by)
        return self

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        """What model_train would refuse after the data is prepared, as far as it can be told without it."""
        filled = with_preset(self.preset, {name: getattr(self, name) for name in UNSET})
        model = str(filled["model"]) if self.model or not self.start_from else ""
        trainer = "torchvision" if is_torchvision(model) else "ultralytics" if model else ""
        check_options(self.hyperparameters, trainer=trainer)
        batch = int(str(filled["batch"]))
        if batch > 0 and batch % max(1, self.gpus):
            raise ValueError(f"batch={batch} cannot be divided among gpus={self.gpus}: use a multiple of {self.gpus}")
        if self.imgsz and self.imgsz < LEAST_IMGSZ:
            raise ValueError(f"imgsz is {self.imgsz} pixels: use {LEAST_IMGSZ} or more, or 0 for the preset's")
        return self

    @model_validator(mode="after")
    def _can_be_packed(self) -> Self:
        """What model_pack would refuse after the training."""
        check_runtimes(self.runtimes, self.serve_runtime)
        return self

    @model_validator(mode="after")
    def _names_of_classes_fit(self) -> Self:
        dropped = {name.strip().casefold() for name in self.drop_classes}
        both = sorted(name for name in self.target_classes if name.strip().casefold() in dropped)
        if both:
            raise ValueError(f"target_classes and drop_classes both name {both[0]!r}: keep it or drop it")
        for alias, name in self.class_aliases.items():
            if not alias.strip() or not name.strip():
                raise ValueError(f"class_aliases has {alias!r}: {name!r}: give both the alias and its class a name")
        return self

    @model_validator(mode="after")
    def _edges_are_not_tiny(self) -> Self:
        for name, least in (("tile", LEAST_TILE), ("predict_tile", LEAST_TILE), ("longest_edge", LEAST_EDGE)):
            edge = getattr(self, name)
            if 0 < edge < least:
                raise ValueError(f"{name} is {edge} pixels: use {least} or more, or 0 for none")
        return self

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = self.train_share + self.val_share + self.test_share
        if abs(total - 1) > 1e-6:  # noqa: PLR2004 - rounding of decimal shares
            raise ValueError(f"train_share, val_share and test_share must sum to 1, they sum to {total:g}")
        return self
