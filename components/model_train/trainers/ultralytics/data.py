"""What the training library reads: a data file of ours, and the list of images where an epoch repeats some."""

from pathlib import Path

import yaml

from components.shared.files import write_atomically
from components.shared.materialise import MaterialisedDataset


def write_data_yaml(path: Path, train: MaterialisedDataset, val: MaterialisedDataset, classes: tuple[str, ...]) -> Path:
    """The library's data file, written by us with known keys only, because it runs code it finds in one.

    Several processes may write the same one at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "path": str(path.parent),
        "train": str(_train_images(path.with_name("train.txt"), train)),
        "val": str(val.images),
        "nc": len(classes),
        "names": dict(enumerate(classes)),
    }
    _write(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path


def _train_images(path: Path, train: MaterialisedDataset) -> Path:
    """What the library trains on: the folder, or where an epoch shows an image more than once, a list at ``path``."""
    if train.epoch_image_count == train.image_count:
        return train.images
    lines = (f"{file}\n" * train.repeats.get(image_id, 1) for image_id, file in sorted(train.paths.items()))
    _write(path, "".join(lines))
    return path


def _write(path: Path, text: str) -> None:
    with write_atomically(path, durable=False) as temporary:
        temporary.write_text(text, encoding="utf-8")
