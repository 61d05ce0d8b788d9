"""A detector without AGPL code: a torchvision model from the sample to the registry, all seven steps."""

import json

from stage import SMALL, finished, folder, hold, say

SETTINGS = {
    "model": "retinanet_mobilenet_v3_small_fpn", "sample_images": "240", "sample_edge": "320",
    **dict.fromkeys(("imgsz", "batch", "epochs"), "0"),
}  # fmt: skip
LEARNED = 0.5  # mAP50


def main() -> None:
    """Show it."""
    with folder() as work:
        run = finished(work, {**SMALL, **SETTINGS})
        record = json.loads((run.directory / "run.json").read_text())
        for step in record["steps"]:
            say(f"   {step['name']}: {step['state']}")
        hold("every step succeeded", true=record["state"] == "succeeded")
        score = record["metrics"]["map50"]
        hold(f"it learned: test mAP50 {score:.3f}", true=score > LEARNED)


if __name__ == "__main__":
    main()
