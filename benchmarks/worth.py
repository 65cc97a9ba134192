"""What every fast path costs in AP and in coverage of the 90 % intervals, against float32 in eager torch.

    python benchmarks/worth.py benchmarks/results/bccd/best.safetensors ../shared/data/bccd
    python benchmarks/worth.py best.safetensors data/ --split val --out runs/worth.json

Coverage is the share of true edges in their intervals, of boxes found. A detector without a calibration gets
one for this, fitted on the validation split and the same for all; the split measured is another.
"""

from pathlib import Path
from typing import Any

import cyclopts
from speed import RESULTS, facts, write

from edgewise import Detector
from edgewise.data.open import open_dataset
from edgewise.device import multiplies_bf16
from edgewise.runtime.bench import quality

ALLOWED = {"AP": 0.002, "coverage": 0.01}


def main(checkpoint: Path, data: Path, *, split: str = "test", out: Path = RESULTS / "worth.json") -> None:
    """CHECKPOINT on a SPLIT of DATA."""
    detector, dataset = Detector.from_pretrained(checkpoint, device="cpu"), open_dataset(data, split)
    if detector.calibration is None:
        detector.calibrate(data, "val")
    kinds = ("fp32", "bf16") if multiplies_bf16() else ("fp32",)
    ways: dict[str, Any] = {"eager fp32": detector}
    for engine in ("torch", "openvino"):
        for kind in kinds:
            ways[f"{engine} {kind}"] = detector.optimize(engine=engine, precision=kind)
    rows: dict[str, dict[str, float]] = {}
    for name, one in ways.items():
        ap, coverage = quality(one, dataset, None, False)
        rows[name] = {"AP": ap, "coverage": coverage}
        lost = {what: value - rows["eager fp32"][what] for what, value in rows[name].items()}
        rows[name] |= {f"{what}_gained": value for what, value in lost.items()}
        within = all(abs(lost[what]) <= most for what, most in ALLOWED.items())
        print(
            f"{name:14}",
            {k: round(v, 5) for k, v in rows[name].items()},
            "" if within else "TOO FAR",
            flush=True,
        )
    result = {"facts": facts(), "data": data.name, "split": split, "images": len(dataset), "allowed": ALLOWED}
    write(result | {"ways": rows}, out)


if __name__ == "__main__":
    cyclopts.run(main)
