"""The manifest that travels with a trained model, from training through the archive to the service."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.shared.errors import ArchiveError
from components.shared.files import digest_of_digests, sha256_tree, write_atomically

MANIFEST = "manifest.json"


class ModelManifest(BaseModel):
    """What ``manifest.json`` in a model folder says; paths are posix, relative to that folder.

    Attributes:
        name: what the model is called in archives and in the registry.
        framework: the trainer that made the weights; see ``frameworks``.
        weights: the weights file to serve; ``last`` the ones of the last epoch.
        test_image: a validation image that has objects, as encoded in the data set.
        classes: class names; the index is the model's class id.
        imgsz: longest edge in pixels the model was trained at; 0: not known, of a foreign framework's model only.
        parameters: what the training was asked for.
        datasets: versions by split (``train``, ``val``).
        libraries: versions of the libraries that matter for the weights.
        metrics: best validation metrics, finite numbers only.
        files: sha256 of every file in the folder but this one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    name: str = "detector"
    framework: str
    weights: str
    last: str
    test_image: str
    classes: tuple[str, ...]
    imgsz: int = Field(ge=0)
    parameters: dict[str, str | int | float | bool | None]
    datasets: dict[str, str]
    libraries: dict[str, str]
    metrics: dict[str, float] = Field(default_factory=dict)
    files: dict[str, str]

    @model_validator(mode="after")
    def _size_is_known(self) -> Self:
        if not self.imgsz and ":" not in self.framework:  # a foreign one is called ymir:<image>
            raise ValueError("imgsz is 0, so nobody could run this model")
        return self

    @property
    def digest(self) -> str:
        """One sha256 for the model's files."""
        return digest_of_digests(self.files)

    def save(self, directory: Path) -> None:
        """Write ``manifest.json`` into the model folder, atomically."""
        with write_atomically(directory / MANIFEST) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_manifest(directory: Path) -> ModelManifest:
    """The manifest of the model in ``directory``.

    Raises:
        ArchiveError: it is missing or not one of ours.
    """
    path = directory / MANIFEST
    try:
        return ModelManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ArchiveError(f"{str(directory)!r} holds no model ({MANIFEST} is missing).") from error
    except ValidationError as error:
        raise ArchiveError(f"{str(path)!r} is not a model manifest: {error.errors()[0]['msg']}.") from error


def verify_files(directory: Path, manifest: ModelManifest) -> None:
    """Compare every file of the model folder with the manifest.

    Raises:
        ArchiveError: a file is missing, was added or has other bytes; the message names the first one.
    """
    found = sha256_tree(directory)
    found.pop(MANIFEST, None)
    for name in sorted(set(found) | set(manifest.files)):
        if name not in found:
            raise ArchiveError(f"{name!r} is missing from the model folder {str(directory)!r}.")
        if name not in manifest.files:
            raise ArchiveError(f"{name!r} in {str(directory)!r} is not in the manifest: it was added afterwards.")
        if found[name] != manifest.files[name]:
            raise ArchiveError(f"{name!r} in {str(directory)!r} has other bytes than the manifest says.")
