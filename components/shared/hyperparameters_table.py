"""The training libraries' hyperparameters that are no parameters of their own, and why the rest cannot be set."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Value = bool | int | float | str
ULTRALYTICS, TORCHVISION = "ultralytics", "torchvision"


@dataclass(frozen=True)
class Option:
    """One hyperparameter, named as ultralytics names it.

    Attributes:
        name: the library's name.
        kind: ``bool``, ``int`` or ``float``; or ``choice``: one of ``choices``.
        default: ultralytics' own, used where this project's trainers choose none; ``None``: the library decides.
        help: one line for a person.
        least: smallest value, inclusive.
        most: largest value, inclusive.
        choices: the values of a ``choice``, a bool or a lower-case text each.
        torchvision: whether the torchvision trainer knows it too.
        torchvision_default: that trainer's own default, where it is another.
    """

    name: str
    kind: str
    default: Value | None
    help: str
    least: float = 0.0
    most: float = 1.0
    choices: tuple[bool | str, ...] = ()
    torchvision: bool = False
    torchvision_default: Value | None = None

    @property
    def trainers(self) -> tuple[str, ...]:
        """The trainers that know it."""
        return (ULTRALYTICS, TORCHVISION) if self.torchvision else (ULTRALYTICS,)

    @property
    def bounds(self) -> str:
        """What it may be, in words."""
        if self.kind == "bool":
            return "true or false"
        if self.kind == "choice":
            words = [str(choice).lower() for choice in self.choices]
            return f"{', '.join(words[:-1])} or {words[-1]}"
        return f"{'a whole number' if self.kind == 'int' else 'a number'} from {self.least:g} to {self.most:g}"


_OPTIONS = (
    Option("lrf", "float", 0.01, "last learning rate as a share of lr0", torchvision=True),
    Option(
        "momentum",
        "float",
        0.937,
        "momentum of SGD, or beta1 of the Adam family",
        most=0.999,
        torchvision=True,
        torchvision_default=0.9,
    ),
    Option("weight_decay", "float", 0.0005, "weight decay (L2)", torchvision=True),
    Option(
        "cos_lr",
        "bool",
        default=False,
        help="let the learning rate fall along a cosine instead of a line",
        torchvision=True,
    ),
    Option("warmup_momentum", "float", 0.8, "momentum at the beginning of the warm-up", most=0.999),
    Option("warmup_bias_lr", "float", 0.1, "learning rate of the biases at the beginning of the warm-up"),
    Option("nbs", "int", 64, "images an optimiser step: gradients of smaller batches are added up", 1, 65_536),
    Option("box", "float", 7.5, "weight of the box loss", most=1000),
    Option("cls", "float", 0.5, "weight of the classification loss", most=1000),
    Option("cls_pw", "float", 0.0, "weigh rare classes up: 0 not at all, 1 by the inverse of their share"),
    Option("dfl", "float", 1.5, "weight of the loss of the distribution of box edges", most=1000),
    Option("hsv_h", "float", 0.015, "largest random change of hue, as a share", torchvision=True),
    Option("hsv_s", "float", 0.7, "largest random change of saturation, as a share", torchvision=True),
    Option("hsv_v", "float", 0.4, "largest random change of brightness, as a share", torchvision=True),
    Option("degrees", "float", 0.0, "largest random rotation, in degrees", most=180, torchvision=True),
    Option("translate", "float", 0.1, "largest random shift, as a share of the image", torchvision=True),
    Option(
        "scale",
        "float",
        0.5,
        "largest random change of size: 0.5 is half to one and a half",
        torchvision=True,
        torchvision_default=0.3,
    ),
    Option("shear", "float", 0.0, "largest random shear, in degrees", most=80),
    Option("perspective", "float", 0.0, "largest random perspective; 0.001 is much", most=0.01),
    Option("flipud", "float", 0.0, "share of the images turned upside down", torchvision=True),
    Option("fliplr", "float", 0.5, "share of the images mirrored left to right", torchvision=True),
    Option("bgr", "float", 0.0, "share of the images with red and blue exchanged"),
    Option("mosaic", "float", 1.0, "share of the images composed of four", torchvision=True, torchvision_default=0.0),
    Option("mixup", "float", 0.0, "share of the images blended with another"),
    Option("cutmix", "float", 0.0, "share of the images with a piece of another pasted in"),
    Option(
        "multi_scale",
        "float",
        0.0,
        "vary the image size by this share of imgsz from batch to batch",
        most=0.9,
        torchvision=True,
    ),
    Option("rect", "bool", default=False, help="batches of images of like shape, without mosaic and in a fixed order"),
    Option("cls_remap", "bool", default=True, help="keep what the start weights know of a class by its name"),
    Option("max_det", "int", 300, "most boxes an image in the validation", 1, 10_000, torchvision=True),
    Option("iou", "float", 0.7, "overlap at which the validation drops the weaker of two boxes", torchvision=True),
    Option(
        "amp",
        "choice",
        default=True,
        help="mixed precision on a GPU",
        choices=(True, False, "fp16", "bf16", "fp32"),
        torchvision=True,
    ),
    Option(
        "compile",
        "choice",
        default=False,
        help="compile the model: slower to start, faster after",
        choices=(True, False, "default", "reduce-overhead", "max-autotune-no-cudagraphs"),
    ),
    Option("channels_last", "bool", default=None, help="memory layout with channels last; unset: where it is faster"),
    Option(
        "deterministic",
        "bool",
        default=True,
        help="only operations that give the same result each time",
        torchvision=True,
    ),
    Option(
        "workers",
        "int",
        8,
        "processes (torchvision: threads) that load images, one set a GPU; on a CPU none",
        0,
        64,
        torchvision=True,
    ),
    Option(
        "cache",
        "choice",
        default=False,
        help="keep decoded images in memory or beside the images on disk",
        choices=(True, False, "ram", "disk"),
    ),
)

OPTIONS: Mapping[str, Option] = MappingProxyType({option.name: option for option in _OPTIONS})
"""By name, in the order in which people read about them."""

_PARAMETERS = (
    "epochs", "lr0", "batch", "imgsz", "optimizer", "warmup_epochs", "close_mosaic",
    "patience", "freeze", "seed", "device", "model", "resume",
)  # fmt: skip
_ELSEWHERE = {
    "time": "max_hours",
    "pretrained": "start_from",
    "save_period": "checkpoint_epochs",
    "data": "source",
    "source": "source",
    "name": "name",
    "classes": "target_classes",
    "single_cls": "class_aliases",
    "fraction": "subset",
}
_REASONS = {
    "is this pipeline's own business": "task mode project exist_ok save_dir cfg split verbose profile",
    "is needed as it is": "val save plots conf nms save_json",
    "takes weights of a teacher, which this pipeline does not": "distill_model dis",
    "is for pose estimation": "pose kobj rle",
    "is for oriented boxes": "angle",
    "is for depth estimation": "dlog dgrad dlam",
    "is for segmentation": "overlap_mask mask_ratio retina_masks copy_paste copy_paste_mode",
    "is for classification": "dropout auto_augment erasing",
    "is for tracking": "tracker",
    "is for export": "format optimize dynamic simplify opset workspace quantize",
    "is for prediction": "dnn vid_stride stream_buffer visualize augment agnostic_nms embed show save_frames save_txt "
    "save_conf save_crop show_labels show_conf show_boxes line_width",
}

EXCLUDED: Mapping[str, str] = MappingProxyType(
    {name: f"is a parameter of its own: set {name}=... instead" for name in _PARAMETERS}
    | {name: f"is left to a parameter of the pipeline: set {other}=... instead" for name, other in _ELSEWHERE.items()}
    | {name: reason for reason, names in _REASONS.items() for name in names.split()}
)
"""Names of the library that cannot be set as a hyperparameter, and why, as the rest of a sentence."""
