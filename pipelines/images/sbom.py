"""What is in an image, as a CycloneDX 1.6 document: https://cyclonedx.org/docs/1.6/json/."""

import uuid
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.errors import ConfigError, PipelineError
from pipelines.images.tool import Tool

INVENTORY = Path(__file__).resolve().parents[2] / "images" / "inventory.py"


class Distribution(BaseModel):
    """A Python distribution in an image."""

    model_config = ConfigDict(frozen=True)
    name: str
    version: str
    licence: str = ""


class Package(BaseModel):
    """A Debian package in an image."""

    model_config = ConfigDict(frozen=True)
    package: str
    version: str
    architecture: str = ""


class Inventory(BaseModel):
    """What ``images/inventory.py`` prints inside an image.

    Attributes:
        python: its distributions, by name.
        debian: its packages, by name.
        system: ``/etc/os-release``.
    """

    model_config = ConfigDict(frozen=True)
    python: tuple[Distribution, ...]
    debian: tuple[Package, ...]
    system: dict[str, str] = Field(default_factory=dict)


def take_inventory(tool: Tool, tag: str) -> Inventory:
    """Ask an image what it holds; nothing of it runs but its interpreter, without a network.

    Raises:
        PipelineError: it could not be asked, or did not answer as expected.
    """
    printed = tool.run_python(tag, INVENTORY.read_text(encoding="utf-8"))
    try:
        return Inventory.model_validate_json(printed)
    except ValidationError as error:
        raise PipelineError(f"The image {tag!r} did not say what it holds: {printed[:200]!r}.") from error


def sbom(inventory: Inventory, *, title: str, version: str, seconds: int) -> str:
    """The inventory as CycloneDX JSON; the same inventory gives the same text.

    Args:
        inventory: what the image holds.
        title: the image's name.
        version: its tag.
        seconds: the time the document bears, since 1970.

    Raises:
        ConfigError: the library that writes it is not installed.
    """
    try:
        from cyclonedx.model.bom import Bom  # noqa: PLC0415 - a tool of development
        from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415 - same
        from cyclonedx.output import make_outputter  # noqa: PLC0415 - same
        from cyclonedx.schema import OutputFormat, SchemaVersion  # noqa: PLC0415 - same
    except ImportError as error:
        raise ConfigError("--sbom needs cyclonedx-python-lib: run scripts/setup.") from error
    root = Component(name=title, version=version, type=ComponentType.CONTAINER, bom_ref=title)
    name = f"{title}:{version}:{inventory.model_dump_json()}"
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, name))
    bom.metadata.component = root
    bom.metadata.timestamp = datetime.fromtimestamp(seconds, UTC)
    parts = [*_distributions(inventory), *_packages(inventory)]
    bom.components.update(parts)
    bom.register_dependency(root, parts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses the dependencies among the parts, which no inventory knows
        return f"{make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)}\n"


def _distributions(inventory: Inventory) -> Iterator[Any]:
    """Components of CycloneDX for the Python distributions."""
    from cyclonedx.contrib.license.factories import LicenseFactory  # noqa: PLC0415 - a tool of development
    from cyclonedx.model.component import Component  # noqa: PLC0415 - same
    from packageurl import PackageURL  # noqa: PLC0415 - same

    licences = LicenseFactory()
    for each in inventory.python:
        purl = PackageURL("pypi", None, canonicalize_name(each.name), each.version)
        known = [licences.make_from_string(each.licence)] if each.licence else []
        yield Component(name=each.name, version=each.version, purl=purl, bom_ref=str(purl), licenses=known)


def _packages(inventory: Inventory) -> Iterator[Any]:
    """Components of CycloneDX for the Debian packages."""
    from cyclonedx.model.component import Component  # noqa: PLC0415 - a tool of development
    from packageurl import PackageURL  # noqa: PLC0415 - same

    system = inventory.system.get("ID", "debian")
    distribution = f"{system}-{inventory.system.get('VERSION_ID', '')}".rstrip("-")
    for each in inventory.debian:
        qualifiers = {"arch": each.architecture, "distro": distribution}
        purl = PackageURL("deb", system, each.package, each.version, qualifiers)
        yield Component(name=each.package, version=each.version, purl=purl, bom_ref=str(purl))
