"""How a torchvision training takes its steps: optimiser, learning rate, averaged weights, frozen layers."""

import copy
import math
from typing import Any

from components.model_train.trainers.base import Hyperparameters
from components.shared.detection.layers import backbone_layers
from components.shared.errors import ConfigError

GRADIENT_NORM = 10.0  # gradients are scaled down to this length
DECAY, RAMP = 0.9999, 2000.0  # of the averaged weights; steps until they are slow to follow, as in ultralytics
_ADAM = frozenset({"Adam", "Adamax", "AdamW", "NAdam", "RAdam"})
_CHOSEN = "AdamW"  # what ``auto`` is


def make_optimizer(model: Any, parameters: Hyperparameters) -> Any:  # noqa: ANN401 - torch is untyped here
    """The optimiser of a model's trainable weights; biases and normalisations do not decay.

    Raises:
        ConfigError: there is no such optimiser.
    """
    from torch import optim  # noqa: PLC0415 - heavy

    name = _CHOSEN if parameters.optimizer == "auto" else parameters.optimizer
    if name not in _ADAM | {"SGD", "RMSProp"}:
        raise ConfigError(f"optimizer={name!r} is none of torch's: use {', '.join(sorted(_ADAM))}, SGD or RMSProp.")
    momentum = float(parameters.options.get("momentum", 0.9))
    decay = float(parameters.options.get("weight_decay", 0.0005))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    if name in _ADAM:
        return getattr(optim, name)(groups, lr=parameters.lr0, betas=(momentum, 0.999))
    if name == "SGD":
        return optim.SGD(groups, lr=parameters.lr0, momentum=momentum, nesterov=momentum > 0)
    return optim.RMSprop(groups, lr=parameters.lr0, momentum=momentum)


def learning_rate(parameters: Hyperparameters, epoch: int, batch: int, batches: int) -> float:
    """The rate of a step, both counted from 1: it rises over the warm-up and falls from ``lr0`` to ``lr0 * lrf``."""
    last = float(parameters.options.get("lrf", 0.01))
    passed = (epoch - 1) / parameters.epochs
    share = (1 + math.cos(math.pi * passed)) / 2 if parameters.options.get("cos_lr", False) else 1 - passed
    steps = (epoch - 1) * batches + batch
    warm = round(parameters.warmup_epochs * batches)
    return parameters.lr0 * (last + (1 - last) * share) * (steps / warm if steps < warm else 1.0)


class Average:
    """The moving average of a model's weights: what is validated and kept."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - torch is untyped here
        self.model = copy.deepcopy(model).eval()
        self.updates = 0
        for weight in self.model.parameters():
            weight.requires_grad_(requires_grad=False)

    def update(self, model: Any) -> None:  # noqa: ANN401 - same
        """Move towards the model; statistics are averaged as weights are, counters copied."""
        import torch  # noqa: PLC0415 - heavy

        self.updates += 1
        decay = DECAY * (1 - math.exp(-self.updates / RAMP))
        current = model.state_dict()
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                if tensor.is_floating_point():
                    tensor.mul_(decay).add_(current[name].detach(), alpha=1 - decay)
                else:
                    tensor.copy_(current[name])


class Frozen:
    """The first layers of a model's backbone, which stay as they are.

    Raises:
        ConfigError: the backbone has fewer layers.
    """

    def __init__(self, model: Any, count: int) -> None:  # noqa: ANN401 - torch is untyped here
        layers = list(backbone_layers(model))
        if count > len(layers):
            raise ConfigError(f"freeze={count}, but the model's backbone has only {len(layers)} layers.")
        self._layers = [part for layer in layers[:count] for part in layer]
        for part in self._layers:
            part.requires_grad_(requires_grad=False)

    def train(self, model: Any) -> None:  # noqa: ANN401 - same
        """Put the model into training mode, but for these layers' statistics."""
        model.train()
        for part in self._layers:
            part.eval()
