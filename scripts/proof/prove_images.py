"""``scripts/prove-images``: the sample pipeline through its own images, as a cluster would run it, and the service."""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from cluster_inputs import Task, Walk
from image_pods import Pods, Ran, container, run_in
from object_store import BUCKET, object_store
from proved import Proved, Tell
from rich.console import Console
from rich.table import Table
from served_champion import Champion, prove_champion
from served_image import prove_service

from components.shared.errors import ConfigError, PipelineError
from pipelines.packages import build_package
from pipelines.parameters import resolve
from pipelines.terminal import print_error

ROOT = Path(__file__).resolve().parents[2]
IMAGES_FILE = ROOT / "images" / "images.json"
PODS = ("steps-python", "trainer-python")
SMALL = ("epochs=1", "imgsz=64", "batch=8", "sample_images=30", "sample_edge=128", "min_map50=0")
_CHECKS = {
    "user 10001 of group 0": "import os; assert (os.getuid(), os.getgid()) == (10001, 0)",
    "code is read-only": "import os, sys; assert not [path for path in sys.path if path and os.access(path, os.W_OK)]",
    "home is writable": "import pathlib; path = pathlib.Path.home() / 'x'; path.write_text('x'); path.unlink()",
    "no compiler": "import shutil; assert not [name for name in ('gcc', 'cc', 'make') if shutil.which(name)]",
    "sh and python3": "import shutil; assert shutil.which('sh') and shutil.which('mktemp') and shutil.which('python3')",
}
logger = logging.getLogger(__name__)


def prove(images: Mapping[str, str], settings: Sequence[str], work: Path, tell: Tell) -> bool:
    """Run every task of the training DAG in its image; whether all went well.

    Args:
        images: image by the name the components use.
        settings: ``name=value`` of the pipeline's parameters.
        work: an empty folder, of which nothing is kept.
        tell: is told of each task as it ends.
    """
    mounted = work / "minio"
    mounted.mkdir()
    mounted.chmod(0o777)
    checked = [_prove_image(name, image, tell) for name, image in images.items() if name in PODS]
    with object_store(work / "store") as environment:
        store = f"s3://{BUCKET}/proof"
        config, _ = resolve(None, [*settings, f"store={store}"], {})
        pods = Pods(mounted, environment)
        spec, *platform = filter(None, yaml.safe_load_all(build_package("training", images).text))
        walk = Walk(spec, _telling(pods, images, tell), mounted, *platform)
        walk.run(config.model_dump(mode="json"))
        good = all(checked) and all(not _wrong(each) for each in pods.ran)
        archives = sorted(mounted.glob("**/model.bento"))
        published = any(each.task == "model-publish" for each in pods.ran)
        if good and published and "serving" in images:
            champion = Champion(archives[0].parent, store, environment)
            good = prove_champion(champion, images, work, tell)
    for name in walk.skipped:
        tell(Proved(name, "", 0.0, "skipped", good=True))
    if good and archives and "serving" in images:
        good = prove_service(archives[0].parent, images["serving"], work, tell)
    return good and bool(archives)


def _telling(pods: Pods, images: Mapping[str, str], tell: Tell) -> Callable[[Task], str | None]:
    named = {image: name for name, image in images.items()}

    def execute(task: Task) -> str | None:
        said = pods.execute(task)
        ran = pods.ran[-1]
        tell(Proved(ran.task, named.get(ran.image, ran.image), ran.seconds, _result(ran), good=not _wrong(ran)))
        return said

    return execute


def _wrong(ran: Ran) -> bool:
    return bool(ran.code or ran.strayed)


def _result(ran: Ran) -> str:
    if ran.code:
        return f"exited with {ran.code}: {' '.join(ran.said.split())[-600:]}"
    if ran.strayed:
        return f"wrote where it must not: {', '.join(ran.strayed[:5])}"
    return "success"


def _prove_image(name: str, image: str, tell: Tell) -> bool:
    """What every pod relies on, asked of the image itself."""
    good = True
    with container(image) as working:
        for what, script in _CHECKS.items():
            began = time.monotonic()
            done = run_in(working, ("sh", "-c", f'python3 -c "{script}"'), {}, {})
            said = "so it is" if not done.returncode else " ".join(done.stderr.split())[-300:]
            tell(Proved(what, name, time.monotonic() - began, said, good=not done.returncode))
            good = good and not done.returncode
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 all is proved, 1 something is not, 2 bad input, 130 stopped."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    console = Console(stderr=True)
    lines: list[Proved] = []

    def tell(line: Proved) -> None:
        lines.append(line)
        console.print(f"{line.step}: {line.result}", highlight=False, markup=False)

    try:
        with tempfile.TemporaryDirectory(prefix="proof-") as folder:
            good = prove(_images(options.images), [*SMALL, *options.set], Path(folder), tell)
    except PipelineError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    _show(lines)
    return 0 if good else 1


def _images(path: Path) -> dict[str, str]:
    if not shutil.which("buildah"):
        raise ConfigError("buildah is not installed: it is what runs the tasks in their images.")
    try:
        images: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} names no images: run scripts/build-images --tool buildah first.") from error
    missing = [name for name in PODS if name not in images]
    if missing:
        raise ConfigError(f"{str(path)!r} has no image {missing[0]!r}: build it, or name another in its place.")
    return images


def _show(lines: Sequence[Proved]) -> None:
    table = Table("step", "image", "seconds", "result", box=None)
    for each in lines:
        table.add_row(each.step, each.image, f"{each.seconds:.1f}", each.result)
    Console(width=160).print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/prove-images",
        description="Run every task of the training pipeline in its image by buildah, against a real S3 server.",
        epilog="Each task gets what a cluster would give it and runs as user 10001, whose code is read-only.",
    )
    parser.add_argument("--images", type=Path, default=IMAGES_FILE, metavar="FILE", help="default: images/images.json")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the pipeline")
    return parser


if __name__ == "__main__":
    sys.exit(main())
