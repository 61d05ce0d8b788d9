"""Bring a source's files to one local folder: a folder as it is, an archive unpacked, the sample drawn."""

from pathlib import Path

from components.data_load.options import SampleOptions
from components.data_load.sample import write_sample
from components.shared.archives import extract
from components.shared.progress import Notify, silent
from components.shared.sources import check_source, is_sample, local_path


def fetch(source: str, work: Path, sample: SampleOptions, notify: Notify = silent) -> Path:
    """The local folder that holds the source's files; archives and the sample are unpacked below ``work``.

    Raises:
        SourceError: nothing is there, or it is neither a folder nor an archive.
        UnsafeInputError: the archive tries to do harm.
    """
    check_source(source)
    if is_sample(source):
        write_sample(work / "sample", images=sample.images, edge=sample.edge, seed=sample.seed, notify=notify)
        return work / "sample"
    path = local_path(source)
    if path.is_dir():
        return path
    notify(0.0, f"unpacking {path.name}")
    return extract(path, work / "source")
