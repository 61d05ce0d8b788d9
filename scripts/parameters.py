#!/usr/bin/env python3
"""Write manifests/PARAMETERS.md: the training pipeline's parameters, as the KFP UI and the commands have them."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.config import TrainingConfig  # noqa: E402 - found by the line above
from pipelines.parameters import describe, parameter_type  # noqa: E402 - same

PAGE = ROOT / "manifests" / "PARAMETERS.md"
HEAD = """# Parameters of the training pipeline

In the order in which people meet them. The same names work in the KFP UI (lists and mappings as JSON), with `--set`, in
a `--config` file and in schedules. `scripts/parameters.py` writes this page from `pipelines/config.py`.

| parameter | type | default | meaning |
|---|---|---|---|
"""
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def rows() -> Iterator[str]:
    """A line of the table for each parameter."""
    for name, _, text in describe():
        kind = parameter_type(name)
        shown = WORDS.get(kind) or ("JSON list" if "list" in str(kind) else "JSON object")
        default = TrainingConfig.model_fields[name].get_default(call_default_factory=True)
        given = default if isinstance(default, str) else json.dumps(default)
        code = f"`{given}`" if given else "empty"
        yield f"| `{name}` | {shown} | {_cell(code)} | {_cell(text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="say whether the page is up to date: 1 when not")
    options = parser.parse_args(arguments)
    text = HEAD + "\n".join(rows()) + "\n"
    if options.check:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    print(PAGE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
