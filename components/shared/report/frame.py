"""What every chart stands in: an SVG whose plot stretches with the page while its lines and letters keep their size.

Positions are percentages of the plot. Axis labels lie outside of it, in the padding of the ``<svg>`` element.
Curves are paths in a nested ``<svg>`` with a stretched view box of 1000 x 1000.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from components.shared.report import numerals
from components.shared.report.figure import Chart, Key, Table
from components.shared.report.scale import Scale
from components.shared.report.svg import hint, label, percent, tag, words

COLOURS = 8
LETTER = 6.6  # mean width of a letter of a 12 px sans serif, generous
HEIGHT = 264


@dataclass(frozen=True)
class Padding:
    """Room around the plot in pixels."""

    top: float = 30
    right: float = 14
    bottom: float = 44
    left: float = 44


def colour(index: int) -> str:
    """The class that colours the series at ``index``."""
    return f"s{index % COLOURS + 1}"


def described(title: str, description: str) -> tuple[str, dict[str, str | float]]:
    """Text alternative of a chart: ``<title>`` and ``<desc>``, and the attributes that point at them."""
    name = "c" + hashlib.sha256(f"{title}\0{description}".encode("utf-8", "replace")).hexdigest()[:10]
    inside = tag("title", words(title) or " ", id=f"{name}t") + tag("desc", words(description) or " ", id=f"{name}d")
    return inside, {"role": "img", "aria_labelledby": f"{name}t", "aria_describedby": f"{name}d"}


def drawing(
    title: str, description: str, body: Sequence[str], *, height: float, padding: Padding, **attributes: str | float
) -> str:
    """The outer ``<svg>``; ``height`` is that of the plot alone, in pixels."""
    inside, pointers = described(title, description)
    room = f"{padding.top:.0f}px {padding.right:.0f}px {padding.bottom:.0f}px {padding.left:.0f}px"
    total = height + padding.top + padding.bottom
    style = f"padding:{room};height:{total:.0f}px"
    return tag("svg", inside, *body, class_="plot", width="100%", style=style, **pointers, **attributes)


def plane(*paths: str, clipped: bool = False) -> str:
    """The stretched plane that holds curves; ``clipped`` hides what lies outside of the plot."""
    return tag(
        "svg",
        *paths,
        class_="plane clip" if clipped else "plane",
        width="100%",
        height="100%",
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
    )


def point(x: float, y: float) -> str:
    """A point of the plane, from shares of the axes (y upwards); far-off points are pulled in so numbers stay short."""
    across, down = (max(-9.0, min(10.0, share)) * 1000 for share in (x, 1 - y))
    return f"{across:.5g} {down:.5g}"


def y_axis(scale: Scale, name: str, padding: Padding) -> list[str]:
    """Horizontal grid lines, their numbers on the left, and the axis' name above them."""
    values = scale.ticks()
    parts = [label(name, x=0, y=0, dx=-padding.left + 2, dy=-14, class_="axis")]
    for value, text in zip(values, _numbers(scale, values), strict=True):
        at = percent(1 - scale.place(value))
        parts.append(tag("line", x1="0", x2="100%", y1=at, y2=at, class_="grid"))
        parts.append(label(text, x=0, y=at, dx=-8, dy="0.33em", class_="tick end"))
    return parts


def x_axis(scale: Scale, name: str, *, grid: bool = False, count: int = 6) -> list[str]:
    """The base line, numbers below it, and the axis' name at its right end; ``grid`` adds vertical lines."""
    values = scale.ticks(count)
    parts = [base_line(), axis_name(name)]
    for value, text in zip(values, _numbers(scale, values), strict=True):
        at = percent(scale.place(value))
        if grid:
            parts.append(tag("line", x1=at, x2=at, y1="0", y2="100%", class_="grid"))
        parts.append(label(text, x=at, y="100%", dy=17, class_="tick middle"))
    return parts


def base_line() -> str:
    """The line the plot stands on; it spans the plot, which is how the page's script knows where the plot is."""
    return tag("line", x1="0", x2="100%", y1="100%", y2="100%", class_="base")


def axis_name(name: str) -> str:
    """Name of the horizontal axis, below its right end."""
    return label(name, x="100%", y="100%", dy=37, class_="axis end")


def left_room(scale: Scale) -> float:
    """Pixels the numbers of a y axis need."""
    return 16 + LETTER * max((len(text) for text in _numbers(scale, scale.ticks())), default=1)


def keys(names: Sequence[str], mark: str) -> tuple[Key, ...]:
    """A legend of several series; one series needs none."""
    return tuple(Key(name, colour(i), mark) for i, name in enumerate(names)) if len(names) > 1 else ()


def empty_chart(title: str, *, columns: Sequence[str], y_label: str, x_label: str) -> Chart:
    """A chart that says there is nothing to show."""
    description = "No data."
    body = [
        label(y_label, x=0, y=0, dx=2, dy=-14, class_="axis"),
        base_line(),
        axis_name(x_label),
        label("no data", x="50%", y="50%", class_="nothing middle"),
    ]
    svg = drawing(title, description, body, height=120, padding=Padding(left=14))
    return Chart(title, svg, description, Table(tuple(columns), ()))


def hinted(element: str, text: str, **attributes: str | float) -> str:
    """An element with a hint of its own."""
    return tag(element, hint(text), **attributes)


def _numbers(scale: Scale, values: Sequence[float]) -> list[str]:
    return [numerals.compact(value) for value in values] if scale.log else numerals.ticks(values)
