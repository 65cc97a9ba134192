"""What every fast path costs in AP and in coverage of the 90 % intervals, against float32 in eager torch.

    python benchmarks/worth.py benchmarks/results/bccd/best.safetensors ../shared/data/bccd
    python benchmarks/worth.py best.safetensors data/ --split val --out runs/worth.json

Coverage is the share of true edges in their intervals, of boxes found. A detector without a calibration gets
one for this, fitted on the validation split and the same for all; the split measured is another. Beside
our ways the plain export in OpenVINO's bf16, decoder and all: what the precision costs that we do not take.
"""

import tempfile
from pathlib import Path
from typing import Any

import cyclopts
from speed import PRECISIONS, RESULTS, facts, write

from edgewise import Detector
from edgewise.data.dataset import Dataset
from edgewise.data.open import open_dataset
from edgewise.runtime.bench import quality
from edgewise.runtime.detector import ExportedDetector
from edgewise.runtime.engines import OpenVinoEngine

ALLOWED = {"AP": 0.002, "coverage": 0.01}


def measured(ways: dict[str, Any], dataset: Dataset) -> dict[str, dict[str, float]]:
    """Way → AP and coverage, and what they gained over the first."""
    rows: dict[str, dict[str, float]] = {}
    for name, one in ways.items():
        ap, coverage = quality(one, dataset, None, False)
        rows[name] = {"AP": ap, "coverage": coverage}
        first = next(iter(rows.values()))
        gained = {what: value - first[what] for what, value in rows[name].items()}
        rows[name] |= {f"{what}_gained": value for what, value in gained.items()}
        within = all(abs(gained[what]) <= most for what, most in ALLOWED.items())
        said = {what: round(value, 5) for what, value in rows[name].items()}
        print(f"{name:28}", said, "" if within else "TOO FAR", flush=True)
    return rows


def main(checkpoint: Path, data: Path, *, split: str = "test", out: Path = RESULTS / "worth.json") -> None:
    """CHECKPOINT on a SPLIT of DATA."""
    detector, dataset = Detector.from_pretrained(checkpoint, device="cpu"), open_dataset(data, split)
    if detector.calibration is None:
        detector.calibrate(data, "val")
    ways: dict[str, Any] = {"eager fp32": detector}
    for engine in ("torch", "openvino"):
        for kind in PRECISIONS:
            ways[f"{engine} {kind}"] = detector.optimize(engine=engine, precision=kind)
    with tempfile.TemporaryDirectory() as folder:
        if "bf16" in PRECISIONS:
            path = Path(folder) / "plain.xml"
            detector.export("openvino", path, sampler="native")
            ways["plain OpenVINO export, bf16"] = ExportedDetector(OpenVinoEngine(path, precision="bf16"))
        rows = measured(ways, dataset)
    result = {"facts": facts(), "data": data.name, "split": split, "images": len(dataset), "allowed": ALLOWED}
    write(result | {"ways": rows}, out)


if __name__ == "__main__":
    cyclopts.run(main)
