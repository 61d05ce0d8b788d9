"""Transfer what weights learned: eight epochs on 100 racoon photographs, from COCO weights and from scratch."""

import json
import sys
from pathlib import Path

from stage import ROOT, finished, folder, hold

DATA = ROOT.parent / "shared" / "data"
SHARES = {"split": "random", "train_share": "0.65", "val_share": "0.25", "test_share": "0.1"}
SETTINGS = {"imgsz": "320", "epochs": "8", "batch": "8", "lr0": "0.001", **SHARES}
LEARNED, BARELY = 0.7, 0.2  # validation mAP50


def map50(work: Path, data: Path, model: str) -> float:
    """Validation mAP50 of the best epoch."""
    run = finished(work / Path(model).stem, {**SETTINGS, "model": model, "source": str(data)})
    return float(json.loads((run.model() / "manifest.json").read_text())["metrics"]["map50"])


def main() -> None:
    """Show it: ``transfer.py [DATA WEIGHTS]``."""
    default = (str(DATA / "raccoon_voc"), str(DATA / "weights" / "yolo11n-coco-dequant.pt"))
    given = [word for word in sys.argv[1:3] if not word.startswith("--")]
    data, weights = map(Path, given if len(given) == len(default) else default)
    if not data.is_dir() or not weights.is_file():
        sys.exit("Give the folder of a data set and a weights file; the ones this was measured on are not here.")
    with folder() as work:
        transferred, scratch = map50(work, data, str(weights)), map50(work, data, "yolo11n.yaml")
        hold(f"from weights mAP50 is {transferred:.3f}, over {LEARNED}", true=transferred > LEARNED)
        hold(f"from scratch {scratch:.3f}, under {BARELY}", true=scratch < BARELY)


if __name__ == "__main__":
    main()
