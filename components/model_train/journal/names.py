"""What TensorBoard and MLflow call an epoch's values: grouped by what comes before the first slash."""

import re

from components.shared.measures import SCORES, SPLITS, is_loss, loss_name

_NAMES = {
    **{name: f"metrics/{label if name.startswith('map') else name}" for name, label in SCORES.items()},
    "lr": "lr",
    "images_per_second": "speed/images_per_second",
    "gpu_memory": "gpu/memory_bytes",
}
_UNUSUAL = re.compile(r"[^\w\-. /]")


def grouped(name: str) -> str:
    """``loss/train/box`` for ``train/box_loss``, ``metrics/mAP50`` for ``map50``; an unknown name stays.

    Characters that MLflow refuses become underscores.
    """
    for split in SPLITS:
        if is_loss(name, split):
            return _UNUSUAL.sub("_", f"loss/{split}/{loss_name(name)}")
    return _NAMES.get(name) or _UNUSUAL.sub("_", name).strip("/")
