"""Trains on a folder of COCO annotations: python examples/train_own_data.py [FOLDER]

Without a FOLDER of your own it makes one of scenes, and trains for about a minute on two CPU cores. The
detector it starts from comes with the package and knows scenes already; other classes it learns.
"""

import sys
from pathlib import Path

from edgewise import Detector
from edgewise.data.scenes import SceneDataset, write_coco


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "scenes")
    if not data.exists():
        write_coco(data, [SceneDataset(160, split="train"), SceneDataset(32, split="val")])
    detector = Detector.from_pretrained("dfine-n-scenes")
    run = detector.train(data, epochs=4, size=160, batch=8, out="runs/own")
    print(
        f"AP50 {detector.evaluate(data, 'val').ap50:.3f}; the detector is {run.folder / 'best.safetensors'}"
    )


if __name__ == "__main__":
    main()
