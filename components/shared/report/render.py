"""From blocks to HTML, through the one template."""

import base64
import functools
import hashlib
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from components.shared.report.blocks import Level, Section
from components.shared.report.explorer import Explorer

_LONG = 24  # letters without a space that are read as code


def render(title: str, subtitle: str, verdict: tuple[str, Level] | None, sections: Sequence[Section]) -> str:
    """The page; sections with neither heading nor blocks are left out."""
    shown = [section for section in sections if section.title or section.blocks]
    named = sum(1 for section in shown if section.title)
    page = _template().render(
        title=title,
        subtitle=subtitle,
        verdict=verdict,
        sections=shown,
        contents=named > 2,  # noqa: PLR2004 - two headings need no contents
        explores=any(isinstance(block, Explorer) for section in shown for block in section.blocks),
    )
    return page.lstrip()  # the template's macros leave empty lines before the doctype


@functools.cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_source),
    )
    environment.filters["digest"] = _digest
    environment.tests["code"] = _is_code
    return environment.get_template("template.html.j2")


def _source(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """What a content security policy calls a script, so that only this one runs."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _is_code(value: str) -> bool:
    return any(len(word) >= _LONG for word in value.split()) or value.startswith(("/", "{", "["))
