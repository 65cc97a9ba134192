"""Trains on a folder of COCO annotations: python examples/train_own_data.py [FOLDER]

Without a FOLDER of your own it makes one of scenes, and trains for about a minute on two CPU cores: enough to
show the way, not to find much.
"""

import sys
from pathlib import Path

from edgewise import Detector
from edgewise.data.open import open_dataset
from edgewise.data.scenes import SceneDataset, write_coco


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "scenes")
    if not data.exists():
        write_coco(data, [SceneDataset(160, split="train"), SceneDataset(32, split="val")])
    classes = open_dataset(data, "train").class_names
    detector = Detector("n", classes)
    run = detector.train(data, epochs=4, size=160, batch=8, out="runs/own", changes={"denoising.queries": 30})
    print(
        f"AP50 {detector.evaluate(data, 'val').ap50:.3f}; the detector is {run.folder / 'best.safetensors'}"
    )


if __name__ == "__main__":
    main()
