"""Runs a page in a sandboxed frame of a real browser, as Kubeflow's UI shows it, and gives what a driver script saw."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WHY = "needs chromium"
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def drive(page: str, script: str, folder: Path) -> Any:
    """What ``script``, the body of an async function run at the page's end, returns; the page's policy stays in force.

    Its own digest is added to the policy, as no other script may run. Errors of the page are raised.
    """
    wrapped = (
        'window.addEventListener("error", (event) => parent.postMessage({ error: event.message }, "*"));'
        f'(async () => {{ {script} }})().then((found) => parent.postMessage({{ found }}, "*"),'
        ' (error) => parent.postMessage({ error: String(error) }, "*"));'
    )
    digest = base64.b64encode(hashlib.sha256(wrapped.encode()).digest()).decode()
    allowed = page.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    driven = allowed.replace("</body>", f"<script>{wrapped}</script></body>")
    listener = (
        'addEventListener("message", (event) => {'
        ' document.querySelector("pre").textContent ||= JSON.stringify(event.data); });'
    )
    frame = f'<iframe sandbox="allow-scripts" width="1200" height="900" srcdoc="{html.escape(driven)}"></iframe>'
    outer = folder / "frame.html"
    outer.write_text(f"<!doctype html><pre></pre><script>{listener}</script>{frame}", encoding="utf-8")
    found = json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", dump(outer, folder), re.DOTALL)[1]) or "{}")
    if "found" not in found:
        raise AssertionError(found.get("error", "the page said nothing"))
    return found["found"]


def dump(path: Path, folder: Path) -> str:
    """The page as the browser has it once its scripts have run."""
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=400, check=True)
    return done.stdout
