"""Carry what ultralytics weights learned over to a network with other classes, or with another architecture."""

import copy
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from components.model_train.trainers.class_names import match_classes
from components.shared.errors import ConfigError

LEAST_SHARE = 0.8  # of the backbone's values; measured: two families or sizes share at most 0.76, variants of one 1.0
_BACKBONE = "backbone"


@dataclass(frozen=True)
class TransferNote:
    """What a network took over from weights.

    Attributes:
        tensors: tensors it took over, by name and shape; the class tensors count when one class was found.
        total: tensors it has.
        found: its classes that the weights know by name.
        classes: classes it has.
        architecture: what the weights were made for, for people.
    """

    tensors: int
    total: int
    found: tuple[str, ...]
    classes: int
    architecture: str

    def __str__(self) -> str:
        by_name = f"{len(self.found)} of {self.classes} classes by name"
        return f"{self.tensors} of {self.total} tensors, {by_name}"


class MisfitError(ConfigError):
    """Weights and architecture do not belong together; ``note`` says how far they do."""

    def __init__(self, note: TransferNote) -> None:
        super().__init__(
            f"The weights are those of {note.architecture!r}, of which {note.tensors} of {note.total} tensors fit."
        )
        self.note = note


def transfer(
    source: Any,  # noqa: ANN401 - ultralytics ships no types
    blueprint: dict[str, Any],
    known: Sequence[str],
    classes: Sequence[str],
    *,
    seed: int,
) -> tuple[Any, TransferNote]:
    """A new network with ``classes`` that has from ``source`` whatever fits.

    The rows of the class tensors are copied by class name; those of classes that are new begin at random, as does every
    tensor that does not fit, with the same numbers for the same seed. ``source`` is changed.

    Args:
        source: a detection network of the library.
        blueprint: the model YAML's content, of the network to build.
        known: the classes of ``source``, by class id.
        classes: the classes to learn, by class id.
        seed: of the random numbers.

    Raises:
        ConfigError: less than ``LEAST_SHARE`` of the new network's backbone fits.
    """
    import torch  # noqa: PLC0415 - heavy
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel  # noqa: PLC0415 - heavy

    architecture = architecture_of(source)
    rows = match_classes(known, classes)
    kind = RTDETRDetectionModel if is_rtdetr(blueprint) else DetectionModel
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = kind(copy.deepcopy(blueprint), nc=len(classes), verbose=False)
        _give_classes(source, rows)
        source.names = network.names = dict(enumerate(classes))
        network.load(source, verbose=False)
    fitting, of_classes = _fitting(source, network), set(_class_tensors(network))
    _check_backbone(network, fitting, architecture)
    found = tuple(name for name, row in zip(classes, rows, strict=True) if row is not None)
    if not found or not fitting & of_classes:
        found, fitting = (), fitting - of_classes
    return network, TransferNote(len(fitting), len(network.state_dict()), found, len(classes), architecture)


def is_rtdetr(blueprint: dict[str, Any]) -> bool:
    """Whether a model YAML's content describes an RT-DETR."""
    return str(blueprint["head"][-1][2]) == "RTDETRDecoder"


def architecture_of(network: Any) -> str:  # noqa: ANN401 - ultralytics ships no types
    """What a network is called in the library: ``yolo11n``, or as much of it as its checkpoint tells."""
    blueprint = getattr(network, "yaml", None) or {}
    told = (Path(str(blueprint.get("yaml_file") or "")).stem[:60], str(blueprint.get("scale") or "")[:2])
    stem, scale = ("".join(sign for sign in text if sign.isprintable()) for text in told)
    if not stem:
        return f"a {type(network).__name__} without a name"
    return f"{stem} of scale {scale}" if scale and not re.search(rf"\d{re.escape(scale)}", stem) else stem


def _check_backbone(network: Any, fitting: set[str], architecture: str) -> None:  # noqa: ANN401 - no types
    sizes = {name: tensor.numel() for name, tensor in network.state_dict().items() if tensor.ndim}
    depth = len(network.yaml[_BACKBONE])
    backbone = {name for name in sizes if int(name.split(".")[1]) < depth}
    common = backbone & fitting
    share = sum(sizes[name] for name in common) / max(1, sum(sizes[name] for name in backbone))
    if min(share, len(common) / max(1, len(backbone))) < LEAST_SHARE:
        raise MisfitError(TransferNote(len(fitting), len(network.state_dict()), (), 0, architecture))


def _fitting(source: Any, network: Any) -> set[str]:  # noqa: ANN401 - ultralytics ships no types
    own = network.state_dict()
    return {name for name, tensor in source.state_dict().items() if name in own and own[name].shape == tensor.shape}


def _class_tensors(network: Any) -> Iterator[str]:  # noqa: ANN401 - ultralytics ships no types
    """The names of the tensors with one row a class."""
    layers = {id(layer) for _, layer, _ in _class_layers(network.model[-1])}
    for prefix, layer in network.named_modules():
        if id(layer) in layers:
            yield from (f"{prefix}.{name}" for name, _ in layer.named_parameters())


def _class_layers(head: Any) -> Iterator[tuple[Callable[[Any], None], Any, float]]:  # noqa: ANN401 - no types
    """Layers whose parameters have one row a class: how to replace it, the layer, and the bias of a new class.

    The biases are those the library gives a new head: ``Detect.bias_init``, ``RTDETRDecoder._reset_parameters``.
    """
    from ultralytics.nn.modules.utils import bias_init_with_prob  # noqa: PLC0415 - heavy

    if hasattr(head, "dec_score_head"):
        bias = float(bias_init_with_prob(0.01)) / 80 * head.nc
        for name in ("denoising_class_embed", "enc_score_head"):
            yield partial(setattr, head, name), getattr(head, name), bias
        for place, layer in enumerate(head.dec_score_head):
            yield partial(head.dec_score_head.__setitem__, place), layer, bias
        return
    for name in ("cv3", "one2one_cv3"):
        for branch, stride in zip(getattr(head, name, None) or (), head.stride, strict=False):
            bias = math.log(5 / head.nc / (640 / float(stride)) ** 2)
            yield partial(branch.__setitem__, len(branch) - 1), branch[-1], bias


def _give_classes(network: Any, rows: tuple[int | None, ...]) -> None:  # noqa: ANN401 - ultralytics ships no types
    """Change a network's class layers so that class ``i`` is the former class ``rows[i]``, or a new one."""
    head = network.model[-1]
    head.nc = network.nc = network.yaml["nc"] = len(rows)
    if hasattr(head, "reg_max"):
        head.no = head.nc + 4 * head.reg_max
    for replace, layer, bias in tuple(_class_layers(head)):
        replace(_with_rows(layer, rows, bias))


def _with_rows(layer: Any, rows: tuple[int | None, ...], bias: float) -> Any:  # noqa: ANN401 - torch's layers
    from torch import nn  # noqa: PLC0415 - heavy

    count = len(rows)
    if isinstance(layer, nn.Conv2d):
        new = nn.Conv2d(layer.in_channels, count, layer.kernel_size)
    elif isinstance(layer, nn.Linear):
        new = nn.Linear(layer.in_features, count)
    else:
        new = nn.Embedding(count, layer.embedding_dim)
    if not isinstance(new, nn.Embedding):
        nn.init.constant_(new.bias, bias)
    kept = [index for index, row in enumerate(rows) if row is not None]
    taken = [row for row in rows if row is not None]
    for old, fresh in zip(layer.parameters(), new.parameters(), strict=True):
        fresh[kept] = old[taken].to(fresh.dtype)
    return new
