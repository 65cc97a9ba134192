"""A diagnosis as text: OK, or what is wrong, kind by kind."""

from rich.markup import escape

from edgewise.data.records import Severity
from edgewise.doctor.examine import Diagnosis

SHOWN = 5  # places of each kind; all are in the JSON and in the report
COLOURS: dict[Severity, str] = {"error": "red", "warning": "yellow", "info": "cyan"}


def text(diagnosis: Diagnosis) -> str:
    """Lines with rich's markup; «OK» for a data set without a problem."""
    if not diagnosis.problems:
        return "OK"
    lines = []
    for severity, kind, problems in diagnosis.by_kind:
        count = f" · {len(problems)}" if len(problems) > 1 else ""
        lines.append(f"[bold {COLOURS[severity]}]{severity}[/] [bold]{kind}[/]{count}")
        treatments = dict.fromkeys(one.treatment for one in problems)
        one_treatment = len(treatments) == 1
        for one in problems[:SHOWN]:
            lines.append(f"  {escape(f'{one.where}: {one.message}' if one_treatment else str(one))}")
        if len(problems) > SHOWN:
            lines.append(f"  … and {len(problems) - SHOWN} more")
        if one_treatment:
            lines.append(f"  [dim]→ {escape(problems[0].treatment)}[/]")
    return "\n".join([*lines, summary(diagnosis)])


def summary(diagnosis: Diagnosis) -> str:
    """«2 errors, 1 warning, 3 infos in 448 images (train), 127 images (val)»."""
    found = ", ".join(
        f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in diagnosis.counts.items()
    )
    images = ", ".join(f"{name} {len(split.images)}" for name, split in diagnosis.splits.items())
    return f"{found}; images: {images or 'none'}"
