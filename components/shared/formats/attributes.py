"""What a format says of an annotation beyond our columns, as the JSON text that the table keeps."""

import json
import math
from collections.abc import Mapping


def to_text(kept: Mapping[str, object]) -> str | None:
    """A JSON object with sorted keys; ``None`` when there is nothing; NaN and infinities become null."""
    if not kept:
        return None
    try:
        return json.dumps(kept, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(kept), sort_keys=True, separators=(",", ":"))


def _finite(value: object) -> object:
    """The value with NaN and infinities, which JSON does not know, written as null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
