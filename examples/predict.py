"""Finds objects in images and draws them with error bars: python examples/predict.py CHECKPOINT IMAGES [OUT]"""

import sys
from pathlib import Path

from edgewise import Detector

checkpoint, images, out = *sys.argv[1:3], Path(sys.argv[3] if len(sys.argv) > 3 else "found")
out.mkdir(parents=True, exist_ok=True)
detector = Detector.from_pretrained(checkpoint)
for i, detections in enumerate(detector.predict(images, threshold=0.3, stream=True)):
    print(detections)
    detections.save(out / f"{i}.jpg")
