"""The page says of every kind what the code does."""

import re
from pathlib import Path

from edgewise.data import problems
from edgewise.doctor import checks
from edgewise.doctor.mend import DONE

PAGE = Path(__file__).resolve().parents[2] / "docs/doctor.md"


def test_the_table_is_that_of_the_code() -> None:
    row = r"^\| `([\w-]+)` \| [^|]+ \| (\w+) \| ([^|]+) \| ([^|]+) \|$"
    found = re.findall(row, PAGE.read_text(encoding="utf-8"), re.M)
    done = {**DONE, "image-size": "as their sizes suggest"}
    assert found == [
        (kind, fault.severity, fault.treatment, done.get(kind, "–"))
        for kind, fault in (problems.FAULTS | checks.FAULTS).items()
    ]
