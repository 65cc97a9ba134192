"""Finds objects in images and draws them with error bars: python examples/predict.py CHECKPOINT IMAGES"""

import sys
from pathlib import Path

from edgewise import Detector

checkpoint, images = sys.argv[1:]
folder = Path("found")
folder.mkdir(exist_ok=True)
detector = Detector.from_pretrained(checkpoint)
for i, detections in enumerate(detector.predict(images, threshold=0.3, stream=True)):
    print(detections)
    detections.save(folder / f"{i}.jpg")
