"""What fewer bits cost and save: a detector as it is exported to ONNX and OpenVINO in every precision.

    python benchmarks/int8.py benchmarks/results/bccd/best.safetensors ../shared/data/bccd

Every file is proven as `edgewise export` does it, on the split that is measured; int8 takes its ranges from
the training images. Coverage is the share of true edges in their 90 % intervals, of boxes found. A detector
without a calibration gets one for this, fitted on the validation split.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cyclopts
from speed import RESULTS, facts, write

from edgewise import Detector
from edgewise.data.open import open_dataset
from edgewise.export import TARGETS
from edgewise.runtime.bench import quality

COLUMNS = {
    "AP": "{:.4f}",
    "AP50": "{:.4f}",
    "coverage": "{:.1%}",
    "MB": "{:.1f}",
    "found again": "{:.1%}",
    "median px": "{:.2f}",
    "shift px": "{:.2f}",
    "batch px": "{:.2g}",
}


def main(
    checkpoint: Path, data: Path, *, split: str = "test", out: Path = RESULTS.parent / "export/int8.json"
) -> None:
    """CHECKPOINT on a SPLIT of DATA."""
    detector, dataset = Detector.from_pretrained(checkpoint, device="cpu"), open_dataset(data, split)
    if detector.calibration is None:
        detector.calibrate(data, "val")
    rows: dict[str, dict[str, float]] = {"checkpoint": {"MB": checkpoint.stat().st_size / 1e6}}
    with TemporaryDirectory() as folder:
        for target in ("onnx", "openvino"):
            for precision in TARGETS[target].precisions:
                name = f"{target} {precision}"
                path = Path(folder) / f"{precision}{TARGETS[target].suffix}"
                proof = detector.export(target, path, precision=precision, data=data, split=split)  # type: ignore[arg-type]
                assert proof.table is not None
                found = Detector.from_pretrained(path, device="cpu")
                rows["checkpoint"] |= {one: proof.table["checkpoint"][one] for one in ("AP", "AP50")}
                rows[name] = {one: proof.table["artifact"][one] for one in ("AP", "AP50")}
                rows[name] |= {
                    "coverage": quality(found, dataset, None, False)[1] or float("nan"),
                    "MB": (found.file_bytes or 0) / 1e6,
                    "batch px": max(one.box_px for one in proof.checks),
                }
                for one in proof.likeness:
                    rows[name] |= {
                        "found again": one.share,
                        "median px": one.median_px,
                        "shift px": one.shift_px,
                    }
                print(f"{name}: {rows[name]}", flush=True)
    rows["checkpoint"]["coverage"] = quality(detector, dataset, None, False)[1] or float("nan")
    result: dict[str, Any] = {
        "facts": facts(),
        "data": data.name,
        "split": split,
        "images": len(dataset),
        "size": "x".join(map(str, detector.config.size)),
        "rows": rows,
    }
    write(result, out)
    out.with_suffix(".md").write_text(page(result, checkpoint, data), encoding="utf-8")


def page(result: dict[str, Any], checkpoint: Path, data: Path) -> str:
    """The table, and what it says."""
    lines = [("", *COLUMNS), ("---", *("---:" for _ in COLUMNS))]
    for name, row in result["rows"].items():
        lines.append((name, *(shown(row.get(key), how) for key, how in COLUMNS.items())))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"""# Every precision of an exported detector

    python benchmarks/int8.py {checkpoint.as_posix()} {data.as_posix()} --split {result["split"]}

{checkpoint.parent.name}, {result["size"]} (height x width), on the {result["images"]} images of the
{result["split"]} split. All files passed their proofs.

{table}

- coverage: true edges in their 90 % intervals, of boxes found; calibrated on the validation split
- MB: of the file, and of the weights beside it where they are kept apart
- found again: detections of the checkpoint that score 0.5 which the file has too, of their class, at IoU 0.5
- median px, shift px: how far their edges are off, and to one side all in all; medians, in pixels of the
  model's input
- batch px: most that boxes differ, in pixels of the original image; of int8 between an image in a batch of 2
  or 8 and alone, of the others between file and checkpoint
"""


def shown(value: float | None, how: str) -> str:
    """A number as its column has it."""
    return "–" if value is None else how.format(value)


if __name__ == "__main__":
    cyclopts.run(main)
