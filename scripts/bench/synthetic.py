"""Draws COCO data sets of any size: JPEGs that look like photographs to a codec, or pictures as small as they get."""

import io
import json
import struct
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 640, 480
CLASSES = ("person", "bicycle", "car", "bird", "cat", "dog", "bottle", "chair", "bed", "book")
BASES = 12  # scenes drawn from scratch; every image is one of them, shifted and with other noise
EDGE = 16  # of the small pictures
JPEG_QUALITY = 75  # about 49 kB, of which two cores decode some 5,600 a second at an eighth of their size
_BATCH = 250


@dataclass(frozen=True)
class Size:
    """How large a data set is: images, boxes on them, and whether the images are photographs or tiny pictures."""

    images: int
    boxes: int
    photographs: bool = True
    polygons: bool = False

    @property
    def name(self) -> str:
        """What its folder is called."""
        kind = "photos" if self.photographs else "tiny"
        return f"coco-{kind}{'-polygons' if self.polygons else ''}-{self.images}-{self.boxes}"


def draw(size: Size, folder: Path, workers: int = 2) -> Path:
    """Write ``images/*`` and ``annotations/instances_default.json`` once; gives the data set's folder."""
    root = folder / size.name
    finished = root / "annotations" / "instances_default.json"
    if not finished.exists():
        (root / "images").mkdir(parents=True, exist_ok=True)
        finished.parent.mkdir(exist_ok=True)
        batches = range(0, size.images, _BATCH)
        jobs = [(root / "images", start, min(start + _BATCH, size.images)) for start in batches]
        with ProcessPoolExecutor(workers) as pool:
            for _ in pool.map(_draw_photographs if size.photographs else _draw_tiny, jobs):
                pass
        partial = finished.with_suffix(".partial")
        write_coco(size, partial)
        partial.replace(finished)
    return root


def warm(root: Path) -> None:
    """Read every file once, so that each contestant finds it in the page cache."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            with path.open("rb") as handle:
                while handle.read(1 << 22):
                    pass


def image_name(index: int, *, photograph: bool) -> str:
    """The file name of an image."""
    return f"{index:012d}.{'jpg' if photograph else 'png'}"


def write_coco(size: Size, path: Path) -> None:
    """The COCO JSON of a data set, as the COCO site lays it out; boxes are spread unevenly over the images."""
    width, height = (WIDTH, HEIGHT) if size.photographs else (EDGE, EDGE)
    with path.open("w", encoding="ascii") as handle:
        handle.write('{"info": {"description": "synthetic"}, "licenses": [], "images": [')
        for index in range(size.images):
            name = image_name(index, photograph=size.photographs)
            record = {"license": 1, "file_name": name, "height": height, "width": width, "id": index + 1}
            handle.write((", " if index else "") + json.dumps(record))
        handle.write('], "annotations": [')
        for start in range(0, size.boxes, 10_000):
            handle.write((", " if start else "") + ", ".join(_records(size, start, width, height)))
        categories = [{"supercategory": "thing", "id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
        handle.write(f'], "categories": {json.dumps(categories)}}}\n')


def _records(size: Size, start: int, width: int, height: int) -> list[str]:
    count = min(10_000, size.boxes - start)
    random = np.random.default_rng(start)
    images = (random.random(count) ** 1.5 * size.images).astype(int) + 1
    classes = (random.random(count) ** 2 * len(CLASSES)).astype(int) + 1
    corners = np.sort(random.random((count, 2, 2)), axis=1) * (width, height)
    lefts_tops = np.round(corners[:, 0], 2)
    sides = np.round(np.maximum(corners[:, 1] - corners[:, 0], min(width, height) / 8), 2)
    places = np.minimum(lefts_tops, np.round((width, height) - sides, 2))
    return [
        _record(start + i, int(images[i]), int(classes[i]), (*places[i].tolist(), *sides[i].tolist()), size.polygons)
        for i in range(count)
    ]


def _record(number: int, image: int, category: int, box: tuple[float, ...], polygon: bool) -> str:  # noqa: FBT001
    x, y, width, height = box
    outline = [x, y, round(x + width, 2), y, round(x + width, 2), round(y + height, 2), x, round(y + height, 2)]
    record = {
        "segmentation": [outline] if polygon else [],
        "area": width * height,
        "iscrowd": 0,
        "image_id": image,
        "bbox": box,
        "category_id": category,
        "id": number + 1,
    }
    return json.dumps(record)


def _draw_photographs(job: tuple[Path, int, int]) -> None:
    folder, start, end = job
    bases = [_scene(seed) for seed in range(BASES)]
    for index in range(start, end):
        random = np.random.default_rng(index)
        rows, columns = random.integers(0, (HEIGHT, WIDTH))
        pixels = np.roll(bases[index % BASES], (int(rows), int(columns)), axis=(0, 1))
        if index % 2:
            pixels = pixels[:, ::-1]
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=JPEG_QUALITY)
        (folder / image_name(index, photograph=True)).write_bytes(buffer.getvalue())


def _scene(seed: int) -> npt.NDArray[np.uint8]:
    """Soft shapes on a soft ground with film grain: about as many bytes as a photograph of its size."""
    random = np.random.default_rng(seed)
    coarse = random.integers(30, 220, (15, 20, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y = int(random.integers(0, WIDTH)), int(random.integers(0, HEIGHT))
        half = int(random.integers(5, 60))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        (pen.ellipse if random.integers(2) else pen.rectangle)((x - half, y - half, x + half, y + half), fill=colour)
    noisy = np.asarray(picture).astype(np.int16) + random.normal(0, 6, (HEIGHT, WIDTH, 1)).astype(np.int16)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _draw_tiny(job: tuple[Path, int, int]) -> None:
    """PNGs of 16 x 16 grey pixels whose numbers stand in their pixels, so that no two are the same."""
    folder, start, end = job
    for index in range(start, end):
        pixels = np.random.default_rng(index).integers(0, 256, (EDGE, EDGE), dtype=np.uint8)
        lines = b"".join(b"\0" + row.tobytes() for row in pixels)
        header = struct.pack(">IIBBBBB", EDGE, EDGE, 8, 0, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
        data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)
        (folder / image_name(index, photograph=False)).write_bytes(data)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
