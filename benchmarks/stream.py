"""Memory of `predict(stream=True)` over many image files: it should not grow.

    OMP_NUM_THREADS=1 python benchmarks/stream.py
    OMP_NUM_THREADS=1 python benchmarks/stream.py --images 300 --out runs/stream.json

The detector in the wheel looks at JPEGs of painted scenes of several sizes, again and again. MB resident are
read ten times on the way; the first of them is where all that is made once has been made.
"""

import itertools
import tempfile
from pathlib import Path
from typing import Any

import cyclopts
from PIL import Image
from speed import RESULTS, Clock, facts, resident_mb, write

from edgewise import Detector
from edgewise.data.scenes import SceneDataset

SIZES = ((160, 160), (120, 200), (240, 180))
SCENES = 20  # of each size


def main(*, images: int = 10_000, batch: int = 8, out: Path = RESULTS / "stream.json") -> None:
    """IMAGES in all, BATCH of them at a time."""
    detector = Detector.from_pretrained("dfine-n-scenes", device="cpu")
    stops = {images * part // 10 for part in range(1, 11)}
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for size in SIZES:
            for index, scene in enumerate(SceneDataset(SCENES, size=size)):
                files.append(Path(folder) / f"{size[0]}_{index}.jpg")
                Image.fromarray(scene.image).save(files[-1])
        given = list(itertools.islice(itertools.cycle(files), images))
        clock = Clock()
        for done, _ in enumerate(detector.predict(given, stream=True, batch=batch), 1):
            if done in stops:
                rows.append({"images": done, "resident_mb": round(resident_mb(), 1)})
                print(rows[-1], flush=True)
        clock.lap("all")
    result: dict[str, Any] = {"facts": facts(), "batch": batch, "rows": rows}
    result["grown_mb"] = round(rows[-1]["resident_mb"] - rows[0]["resident_mb"], 1)
    result["cpu_ms_an_image"] = 1e3 * clock.laps["all"]["cpu_s"] / images
    print(f"grown by {result['grown_mb']} MB, {result['cpu_ms_an_image']:.1f} ms of the processor an image")
    write(result, out)


if __name__ == "__main__":
    cyclopts.run(main)
