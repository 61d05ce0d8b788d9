"""The pages a person sees: one to try the model on, and one to read the OpenAPI document; neither asks elsewhere."""

import base64
import hashlib
from pathlib import Path

from starlette.responses import HTMLResponse

ASSETS = Path(__file__).with_name("assets")
_STYLE, _SCRIPT = "/*style*/", "/*script*/"
_COMMON = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def index_page() -> HTMLResponse:
    """``GET /``: style and script lie within the page, and its policy lets in nothing else."""
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    html = _asset("page.html").replace(_STYLE, style).replace(_SCRIPT, script)
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    return HTMLResponse(html, headers=_COMMON | {"Content-Security-Policy": policy})


def docs_page() -> HTMLResponse:
    """``GET /docs``: Swagger's reader, which BentoML brings along, without the trackers of BentoML's own page."""
    script = _asset("docs.js")
    policy = (
        f"default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self' '{_digest(script)}'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    html = _asset("docs.html").replace(_SCRIPT, script)
    return HTMLResponse(html, headers=_COMMON | {"Content-Security-Policy": policy})


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8").rstrip("\n")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
