"""What data_load is asked for."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SampleOptions:
    """Size of the built-in sample: number of images, their edge in pixels, and the seed."""

    images: int = 240
    edge: int = 320
    seed: int = 0


@dataclass(frozen=True)
class LoadOptions:
    """What to load and what to call it.

    Attributes:
        source: where the data is; several sources as a JSON list or one a line, see ``components.shared.sources``.
        format: ``auto`` or the name of a format, for every source.
        name: of the dataset; empty: made from the first source.
        sample: size of the built-in sample.
        label_attribute: which label of a Ground Truth manifest to read; empty: the newest.
        name_conflicts: what to do when two sources have an image of one name and other content: ``stop``, or keep
            the ``first`` or the ``last``.
        sql_query: the query a database source is asked; its columns are image, label, x, y, width, height.
        allow_private_addresses: whether https sources may lie on private, loopback and link-local addresses.
        max_download_gb: stop a download that is larger, in gigabytes.
    """

    source: str
    format: str = "auto"
    name: str = ""
    sample: SampleOptions = field(default_factory=SampleOptions)
    label_attribute: str = ""
    name_conflicts: str = "stop"
    sql_query: str = ""
    allow_private_addresses: bool = False
    max_download_gb: float = 100.0
