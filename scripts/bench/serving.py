"""Measures the packed service beside the bare library: ``python scripts/bench/serving.py [--rounds N] [--json]``.

The same photographs, as JPEG files in memory, go through a loop of ``YOLO.predict`` in one process, with the library's
own number of threads and with all cores, and over HTTP through the service, with the runtime it was packed to serve on
a CPU and with the weights, from one client and from several, started by its own launcher, as an image does it, and by
``bentoml serve``. They take turns; what is told is the median of the rounds
and the range. Clients run on the same cores. Where photographs or weights are absent, such of the same size are drawn.
Exits with 1 when a goal is missed.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from serving_contestants import Bare, Contestant, Served, bare, measure
from serving_model import Packed, pack_model, photographs, unpacked
from serving_table import compare, show, verdicts

ROOT = Path(__file__).resolve().parents[2]


def contestants(packed: Packed, clients: int) -> dict[str, Contestant]:
    """Who takes turns, by name: the service of each runtime is started once a round for both numbers of clients."""
    return {
        "bare": Bare(packed.weights, all_cores=False),
        "bare, all cores": Bare(packed.weights, all_cores=True),
        "service": Served(packed.bento, packed.served, clients),
        "service, weights": Served(packed.bento, "torch", clients),
        "bentoml serve": Served(packed.bento, packed.served, clients, supervised=True),
    }


def main() -> None:
    """Compare, or be the bare library."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=128, help="photographs a round, cycled")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--runtimes", help="what the model is converted to, separated by commas; default: the step's")
    parser.add_argument("--serve-runtime", default="auto")
    parser.add_argument("--archive", type=Path, help="a packed model to measure instead of one that is packed now")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bare", metavar="PLAN", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.bare:
        print(json.dumps(asdict(bare(**json.loads(options.bare)))))
        return
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        work = Path(folder)
        if options.archive:
            packed = unpacked(options.archive, work)
        else:
            packed = unpacked(pack_model(work, options.runtimes, options.serve_runtime), work)
        pictures = photographs(options.images)
        rounds = []
        for number in range(1, options.rounds + 1):
            rounds.append(measure(contestants(packed, options.clients), pictures, work))
            print(f"round {number} of {options.rounds} is done", file=sys.stderr)
    found = compare(rounds) | {"runtime": packed.served, "clients": options.clients, "images": options.images}
    print(json.dumps(found)) if options.json else show(found)
    sys.exit(not all(met for met, _ in verdicts(found)))


if __name__ == "__main__":
    main()
