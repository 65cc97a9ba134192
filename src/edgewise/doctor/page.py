"""A diagnosis as a page: what is wrong, what it looks like, what the data hold, and what to set."""

import json
from pathlib import Path

from edgewise.doctor.examine import Diagnosis
from edgewise.doctor.pictures import sample_sheet, worst_sheet
from edgewise.doctor.plots import class_plot, count_plot, size_plot
from edgewise.report import Picture, Table, write_report

LEAD = (
    "What reading every annotation and every image of the data set has found. Training stops at an error; a "
    "warning is mended or harms the result; an info is worth knowing."
)


def write_page(diagnosis: Diagnosis, folder: str | Path) -> Path:
    """Writes report.html, its pictures and doctor.json into `folder`; returns the path of the page.

    The folder is made if need be, older files of these names are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    values = json.dumps(diagnosis.to_dict(), indent=2, ensure_ascii=False)
    (folder / "doctor.json").write_text(values + "\n", encoding="utf-8")
    counts = diagnosis.counts
    images = sum(len(split.images) for split in diagnosis.splits.values())
    boxes = sum(one.boxes for one in diagnosis.statistics.values())
    return write_report(
        folder,
        f"Data set {diagnosis.data.resolve().name}",
        LEAD,
        {
            "errors": f"{counts['error']:,}",
            "warnings": f"{counts['warning']:,}",
            "infos": f"{counts['info']:,}",
            "images": f"{images:,}",
            "boxes": f"{boxes:,}",
        },
        _pictures(diagnosis, folder),
        _tables(diagnosis),
    )


def _tables(diagnosis: Diagnosis) -> list[Table]:
    found = [
        (severity, kind, f"{len(problems):,}", problems[0].treatment)
        for severity, kind, problems in diagnosis.by_kind
    ]
    overview = Table(
        "What was found" if found else "Nothing wrong was found",
        ("severity", "problem", "count", "what training does"),
        found,
    )
    held = Table(
        "What it holds",
        ("split", "format", "images", "of them without boxes", "boxes", "most in an image", "median image"),
        [
            (
                name,
                split.format,
                f"{one['images']:,}",
                f"{one['negatives']:,}",
                f"{one['boxes']:,}",
                f"{one['most_boxes_in_an_image']:,}",
                "x".join(map(str, one["median_image_size"] or [])),
            )
            for name, split in diagnosis.splits.items()
            for one in [diagnosis.statistics[name].to_dict()]
        ],
    )
    advice = Table("Advice", ("setting", "why"), [(one.subject, one.text) for one in diagnosis.advice])
    places = [
        Table(
            f"{kind}: {len(problems):,}",
            ("where", "what"),
            [(one.where, one.message) for one in problems],
            folded=True,
        )
        for _, kind, problems in diagnosis.by_kind
    ]
    return [overview, *places, held, *([advice] if advice.rows else [])]


def _pictures(diagnosis: Diagnosis, folder: Path) -> list[Picture]:
    pictures: list[Picture] = []
    splits, counts = diagnosis.splits, {name: one for name, one in diagnosis.statistics.items() if one.boxes}
    worst = worst_sheet(splits.values(), diagnosis.scans, diagnosis.problems)
    if worst is not None:
        worst.save(folder / "worst.jpg", quality=88)
        pictures.append(
            (folder / "worst.jpg", "The images with the most errors and warnings; what is wrong is red")
        )
    if not counts:
        return pictures
    name = next(iter(counts))
    sheet = sample_sheet(splits[name], diagnosis.scans)
    if sheet is not None:
        sheet.save(folder / "samples.jpg", quality=88)
        pictures.append(
            (folder / "samples.jpg", f"Images of the {name} split as training sees them annotated")
        )
    class_plot(counts, folder / "classes.png")
    size_plot(counts, diagnosis.size, folder / "sizes.png")
    count_plot(counts, diagnosis.queries, folder / "boxes_per_image.png")
    return [
        *pictures,
        (folder / "classes.png", "How often each class is annotated"),
        (folder / "sizes.png", "How large boxes are for the model: below 8 px there is little to see"),
        (folder / "boxes_per_image.png", "How full images are; a model finds no more than it has queries"),
    ]
