"""The charts of an analysis: each answers the question in its title, for all parts at once."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from components.shared.analysis.part import Floats, Part
from components.shared.report.charts import Chart, bar_chart, heat_map, histogram, named_heat_map

SHOWN_CLASSES = 30
SMALLEST = 10  # of those, when there are more
SHOWN_PAIRS = 20  # classes in the table of what goes together
CELLS = 24  # of the heat map, each way
MAPS = 4  # heat maps side by side


def class_chart(parts: Sequence[Part]) -> Chart:
    """Boxes of each class by part, the largest first; of many classes the largest and the smallest."""
    table = pl.concat(part.class_counts.select("class", "boxes").with_columns(part=pl.lit(part.name)) for part in parts)
    order = table.group_by("class", maintain_order=True).agg(pl.col("boxes").sum()).sort("boxes", descending=True)
    names = order.get_column("class").to_list()
    if len(names) > SHOWN_CLASSES:
        names = names[: SHOWN_CLASSES - SMALLEST] + names[-SMALLEST:]
    series = {}
    for part in parts:
        found = dict(part.class_counts.select("class", "boxes").iter_rows())
        series[part.name] = [found.get(name, 0) for name in names]
    left_out = order.height - len(names)
    more = (
        f" The {SHOWN_CLASSES - SMALLEST} largest and {SMALLEST} smallest of {order.height} classes" if left_out else ""
    )
    title = f"Which classes have many boxes, which few?{more}"
    stacked = not any(part.predicted for part in parts)
    return bar_chart(title, names, series, x_label="class", y_label="boxes", stacked=stacked, horizontal=True)


def box_charts(parts: Sequence[Part]) -> list[Chart]:
    """How large, of which shape and how many boxes there are."""
    per_image = {part.name: part.boxes_per_image.get_column("boxes").to_numpy() for part in parts}
    shares = len(parts) > 1
    boxes = "% of the boxes" if shares else "boxes"
    images = "% of the images" if shares else "images"
    return [
        histogram(
            "How many pixels has an object?",
            _columns(parts, "edge"),
            x_label="root of the box's area, pixels",
            y_label=boxes,
            log_x=True,
            shares=shares,
        ),
        histogram(
            "How much of its image does an object fill?",
            _columns(parts, "relative"),
            x_label="root of the box's share of the area",
            y_label=boxes,
            shares=shares,
        ),
        histogram(
            "Are boxes wide or tall?",
            _columns(parts, "shape"),
            x_label="width / height",
            y_label=boxes,
            log_x=True,
            shares=shares,
        ),
        histogram("How crowded are the images?", per_image, x_label="boxes in an image", y_label=images, shares=shares),
    ]


def image_charts(parts: Sequence[Part]) -> list[Chart]:
    """How large, of which shape and how good the images are."""
    area = pl.col("width").cast(pl.Float64) * pl.col("height") / 1e6
    shape = pl.col("width").cast(pl.Float64) / pl.col("height").cast(pl.Float64)
    wanted: list[tuple[str, pl.Expr, str, bool]] = [
        ("How large are the images?", area, "megapixels", True),
        ("Are images wide or tall?", shape, "width / height", True),
        ("How large are the files?", pl.col("bytes") / 1e3, "kB", True),
        ("Are images too dark or too bright?", pl.col("brightness"), "mean grey, 0 black to 1 white", False),
        ("Are images flat or rich in contrast?", pl.col("contrast"), "standard deviation of the grey", False),
        ("Are images blurred or sharp?", pl.col("sharpness"), "variance of the Laplacian", True),
    ]
    shares = len(parts) > 1
    label = "% of the images" if shares else "images"
    charts = []
    for title, expression, unit, log in wanted:
        values = {part.name: _usable(part, expression) for part in _of_images(parts)}
        if any(column.size for column in values.values()):
            charts.append(histogram(title, values, x_label=unit, y_label=label, log_x=log, shares=len(values) > 1))
    return charts


def centre_maps(parts: Sequence[Part]) -> list[Chart]:
    """Where in their images the boxes' centres lie, one map a part."""
    charts = []
    for part in [part for part in parts if part.boxes.height][:MAPS]:
        across, down = part.column("across"), part.column("down")
        inside = (across >= 0) & (across <= 1) & (down >= 0) & (down <= 1)
        grid, _, _ = np.histogram2d(down[inside], across[inside], bins=CELLS, range=((0, 1), (0, 1)))
        sizes = part.frames.select((pl.col("wide") / pl.col("high")).median()).item()
        aspect = min(2.0, max(0.5, float(sizes or 1)))
        title = "Where in the image do objects lie?" if len(parts) == 1 else f"Where do the objects of {part.name} lie?"
        charts.append(
            heat_map(title, grid, x_label="left to right", y_label="top to bottom", value="boxes", aspect=aspect)
        )
    return charts


def together_chart(parts: Sequence[Part]) -> Chart | None:
    """How many images show two classes at once; ``None`` when there is only one class."""
    truth = [part for part in parts if not part.predicted] or list(parts)
    sizes = pl.concat(part.class_counts for part in truth).group_by("class").agg(pl.col("images").sum())
    sizes = sizes.filter(pl.col("images") > 0).sort("images", "class", descending=[True, False])
    names = sizes.get_column("class").head(SHOWN_PAIRS).to_list()
    if len(names) < 2:  # noqa: PLR2004 - nothing to be together with
        return None
    grid = np.zeros((len(names), len(names)))
    for part in truth:
        shows = _shows(part, names)
        grid += shows.T @ shows
    more = f" ({len(names)} most frequent)" if sizes.height > len(names) else ""
    return named_heat_map(
        f"Which classes appear together?{more}", names, grid, row="images with", column="also show", value="images"
    )


def _shows(part: Part, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """A row an image with boxes, a column a class: 1 where the image shows the class."""
    place = {name: index for index, name in enumerate(names)}
    known = part.boxes.select("image_id", "category").filter(pl.col("category").is_in(list(names)))
    columns = known.get_column("category").replace_strict(place, return_dtype=pl.Int64).to_numpy()
    rows = known.get_column("image_id").rank("dense").cast(pl.Int64).to_numpy() - 1
    shows = np.zeros((int(rows.max(initial=-1)) + 1, len(names)), dtype=np.float32)
    shows[rows, columns] = 1
    return shows


def _columns(parts: Sequence[Part], name: str) -> dict[str, Floats]:
    return {part.name: part.column(name) for part in parts}


def _of_images(parts: Sequence[Part]) -> list[Part]:
    """Parts of predictions show the same images again."""
    return [part for part in parts if not part.predicted] or list(parts)


def _usable(part: Part, expression: pl.Expr) -> Floats:
    readable = part.images.filter((pl.col("width") > 0) & (pl.col("height") > 0))
    values: Callable[[], pl.Series] = readable.select(expression.alias("value")).get_column("value").drop_nulls
    return values().cast(pl.Float64).to_numpy()
