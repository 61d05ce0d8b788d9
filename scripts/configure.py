#!/usr/bin/env python3
"""Make an overlay of manifests/ ready to apply: random passwords, and images by digest."""

import argparse
import json
import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT / "manifests"
IMAGES = ROOT / "images" / "images.json"
ENDPOINT = "http://detection-minio:9000"
OURS = {"detection-steps": "steps-python", "detection-serving": "serving"}

_IMAGE = re.compile(r"(?P<name>[^\s@]+)@(?P<digest>sha256:[0-9a-f]{64})")


class ConfigureError(Exception):
    """What is wrong and what to do, in one sentence."""


def main(arguments: list[str] | None = None) -> int:
    """The command: 0 when the overlay may be applied, 2 when something is missing."""
    names = sorted(folder.name for folder in (MANIFESTS / "overlays").iterdir() if folder.is_dir())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overlay", choices=names, help="which one")
    parser.add_argument("--manifests", type=Path, default=MANIFESTS, help="where they are (default: here)")
    parser.add_argument("--images", type=Path, default=IMAGES, metavar="FILE", help="what scripts/build-images wrote")
    parser.add_argument("--endpoint", default=ENDPOINT, help=f"the S3 server's address (default: {ENDPOINT})")
    parser.add_argument("--authority", action="store_true", help="the server's certificate is signed by detection-ca")
    parser.add_argument("--no-images", action="store_true", help="leave the images as they are")
    options = parser.parse_args(arguments)
    try:
        for said in configure(options):
            print(said)
    except ConfigureError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def configure(options: argparse.Namespace) -> list[str]:
    """Do it; gives a line on each thing that was done or left.

    Raises:
        ConfigureError: there are no images, or one is not named by its digest.
    """
    said = [] if options.no_images else [set_images(options.manifests / "components" / "images", options.images)]
    folder = options.manifests / "overlays" / options.overlay
    store = {
        "S3_ENDPOINT_URL": options.endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": f"detection-{secrets.token_hex(4)}",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
    }
    if options.authority:
        store["SSL_CERT_FILE"] = "/etc/detection-ca/ca.crt"
    root = {"user": f"root-{secrets.token_hex(4)}", "password": secrets.token_hex(20)}
    said += [write_secret(folder / "store.env", store), write_secret(folder / "minio-root.env", root)]
    return [*said, f"kubectl apply -k {folder}"]


def set_images(folder: Path, built: Path) -> str:
    """Name our two images by the digests that were built, in ``folder``'s kustomization.

    Raises:
        ConfigureError: nothing was built, or an image has no digest.
    """
    try:
        images = json.loads(built.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigureError(f"{str(built)!r} names no images: run scripts/build-images --push first.") from error
    path = folder / "kustomization.yaml"
    text = path.read_text(encoding="utf-8")
    for name, key in OURS.items():
        found = _IMAGE.fullmatch(str(images.get(key, "")))
        if not found:
            raise ConfigureError(f"{str(built)!r} has {images.get(key)!r} for {key!r}: write NAME@sha256:DIGEST.")
        entry = f"- name: {name}\n  newName: {found['name']}\n  digest: {found['digest']}\n"
        text, count = re.subn(rf"- name: {name}\n(?:  .*\n)+", entry, text)
        if count != 1:
            raise ConfigureError(f"{str(path)!r} has no entry for {name!r}: restore that file.")
    path.write_text(text, encoding="utf-8")
    return f"{path}: images by digest, from {built}"


def write_secret(path: Path, values: dict[str, str]) -> str:
    """Write a secret's values where nobody else can read them; one that is there already stays as it is."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return f"{path}: kept"
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    return f"{path}: written, with a new password; keep a copy of it"


if __name__ == "__main__":
    sys.exit(main())
