"""The local cache of image files that trainers read: fetched once by digest, scaled and re-encoded where asked for."""

import os
import tempfile
import uuid
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import polars as pl
from PIL import Image

from components.shared.cpus import usable_cpus
from components.shared.errors import ConfigError, InputError
from components.shared.images import decode
from components.shared.progress import Notify
from components.shared.shards import ImageReader
from components.shared.store import Store

CACHE_VARIABLE = "PIPELINE_CACHE"
FORMATS = ("keep", "jpeg", "png")
LEAST_EDGE = 10  # pixels; trainers leave out images with a shorter side, silently

_SUFFIXES = {"jpeg": "jpg", "png": "png", "bmp": "bmp", "webp": "webp"}  # formats every trainer reads as we do
_QUALITY = 95
_NOTIFY_EVERY = 200
_COLUMNS = ("image_id", "name", "sha256", "bytes", "shard", "offset", "width", "height", "format", "orientation")
_END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True)
class ImageOptions:
    """How images are written.

    Attributes:
        longest_edge: larger images are scaled down to this, pixels; 0: none is.
        format: ``keep``, ``jpeg`` or ``png``.
    """

    longest_edge: int = 0
    format: str = "keep"

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            ConfigError: with the option and its value.
        """
        if self.format not in FORMATS:
            raise ConfigError(f"The image format is {self.format!r}; it must be one of {', '.join(FORMATS)}.")
        if self.longest_edge and self.longest_edge < LEAST_EDGE:
            raise ConfigError(f"longest_edge is {self.longest_edge!r} pixels; write 0 for no limit, else at least 10.")


AS_THEY_ARE = ImageOptions()


def default_cache() -> Path:
    """The image cache of this machine's user: ``$PIPELINE_CACHE``, else below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "detection-pipeline" / "images"


def writable_cache(chosen: Path | None) -> Path:
    """The wanted cache, or a private one of the temporary folder where that cannot be written."""
    wanted = chosen or default_cache()
    own = Path(tempfile.gettempdir()) / f"detection-images-{os.getuid()}"
    for folder in (wanted, own):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        # Anybody may have made the folder with the guessable name, so it counts only when it is ours.
        if os.access(folder, os.W_OK | os.X_OK) and (folder == wanted or folder.stat().st_uid == os.getuid()):
            return folder
    return Path(tempfile.mkdtemp(prefix="detection-images-"))


def image_table(images: pl.DataFrame, options: ImageOptions) -> pl.DataFrame:
    """The images with the suffix their files get (``suffix``), their name in the cache (``cached``) and ``recoded``.

    Raises:
        InputError: an image is missing or cannot be decoded.
    """
    table = images.select(_COLUMNS)
    broken = table.filter((pl.col("width") == 0) | (pl.col("height") == 0) | pl.col("sha256").is_null())
    if broken.height:
        raise InputError(
            f"The image {broken.item(0, 'name')!r} and {broken.height - 1} others of the dataset are missing or"
            " cannot be decoded: prepare the dataset first."
        )
    known = pl.col("format").is_in(list(_SUFFIXES)).fill_null(value=False)
    # Readers agree on turning a JPEG by its EXIF tag; for the other formats they do not.
    readable = known & ((pl.col("orientation") == 1) | (pl.col("format") == "jpeg"))
    large = pl.max_horizontal("width", "height") > options.longest_edge if options.longest_edge else pl.lit(value=False)
    wanted = pl.lit(value=True) if options.format == "keep" else pl.col("format") == options.format
    kept = pl.when(pl.col("format") == "jpeg").then(pl.lit("jpg")).otherwise(pl.lit("png"))
    target = kept if options.format == "keep" else pl.lit(_SUFFIXES[options.format])
    edge = pl.when(large).then(pl.lit(f"{options.longest_edge}px.")).otherwise(pl.lit(""))
    digest = pl.col("sha256")
    table = table.with_columns(recoded=large | ~readable | ~wanted)
    table = table.with_columns(
        suffix=pl.when("recoded").then(target).otherwise(pl.col("format").replace(_SUFFIXES)),
        variant=pl.when("recoded").then(pl.format("{}recoded.", edge)).otherwise(pl.lit("")),
    )
    return table.with_columns(cached=pl.format("{}/{}.{}{}", digest.str.head(2), digest, "variant", "suffix"))


def fetch_missing(table: pl.DataFrame, store: Store, cache: Path, options: ImageOptions, notify: Notify) -> None:
    """Bring the images that the cache lacks into it.

    Raises:
        InputError: an image that has to be encoded anew cannot be decoded.
    """
    columns = table.select("cached", "bytes", "recoded").iter_rows()
    present = [_is_cached(cache / name, None if recoded else size) for name, size, recoded in columns]
    missing = table.filter(~pl.Series(present, dtype=pl.Boolean)).unique("cached").sort("shard", "offset")
    if missing.is_empty():
        return
    for prefix in missing.get_column("cached").str.head(2).unique():
        (cache / prefix).mkdir(exist_ok=True)
    targets = dict(missing.select("image_id", pl.struct("cached", "suffix", "name", "recoded")).iter_rows())
    waiting: deque[Future[None]] = deque()
    workers = usable_cpus()
    with ThreadPoolExecutor(workers, thread_name_prefix="recode") as pool:
        for done, (image_id, data) in enumerate(ImageReader(store).read_many(missing)):
            target = targets[image_id]
            if target["recoded"]:
                waiting.append(pool.submit(_recode_into_cache, cache / target["cached"], data, target, options))
            else:
                _put_into_cache(cache / target["cached"], _well_ended(data, target["suffix"]))
            if len(waiting) > 2 * workers:
                waiting.popleft().result()
            if done % _NOTIFY_EVERY == 0:
                notify(done / missing.height, f"fetched {done} of {missing.height} images")
        for future in waiting:
            future.result()


def _recode_into_cache(path: Path, data: bytes, target: Mapping[str, str], options: ImageOptions) -> None:
    try:
        pixels = decode(data)
    except InputError as error:
        raise InputError(f"The image {target['name']!r} cannot be used: {error}") from error
    height, width = pixels.shape[:2]
    size = scaled_size(width, height, options.longest_edge)
    if size != (width, height):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    buffer = BytesIO()
    if target["suffix"] == "jpg":
        Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    else:
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)  # this copy never travels: speed before size
    _put_into_cache(path, buffer.getvalue())


def scaled_size(width: int, height: int, longest_edge: int) -> tuple[int, int]:
    """Width and height after scaling down to ``longest_edge`` (0: no limit), no side below ``LEAST_EDGE``."""
    if not longest_edge or max(width, height) <= longest_edge:
        return width, height
    scale = longest_edge / max(width, height)
    return min(width, max(LEAST_EDGE, round(width * scale))), min(height, max(LEAST_EDGE, round(height * scale)))


def _well_ended(data: bytes, suffix: str) -> bytes:
    """A JPEG with other bytes behind it gets an end marker: without one, trainers take it for broken and replace it."""
    return data if suffix != "jpg" or data.endswith(_END_OF_IMAGE) else data + _END_OF_IMAGE


def _is_cached(path: Path, size: int | None) -> bool:
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return False
    return found in {size, size + len(_END_OF_IMAGE)} if size is not None else found > 0


def _put_into_cache(path: Path, data: bytes) -> None:
    """Write a cache file under a temporary name; read-only, because training folders link to it."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
