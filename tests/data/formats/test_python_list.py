from pathlib import Path

import pytest

from edgewise.data.open import available_splits, open_dataset, read_splits
from tests.data.folders import boxes, fill


def test_records(tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": "", "b.png": ""})
    records = [
        {"image": tmp_path / "a.png", "boxes": [[4, 3, 8, 9]], "labels": ["dog"]},
        {"image": str(tmp_path / "b.png"), "boxes": [[1, 2, 3, 4]], "labels": ["cat"], "split": "valid"},
    ]
    splits = read_splits(records)
    assert boxes(*splits.values()) == {"a.png": [("dog", (4, 3, 8, 9))], "b.png": [("cat", (1, 2, 3, 4))]}
    assert list(available_splits(records)) == ["train", "val"]
    assert open_dataset(records, "val").class_names == ("cat", "dog")
    assert open_dataset(records, "val")[0].labels.tolist() == [0]
    with pytest.raises(FileNotFoundError, match=r"the records: no test split; found train \(records\), val"):
        open_dataset(records, "test")


def test_no_records() -> None:
    with pytest.raises(ValueError, match=r"^the list of records is empty; expected a dictionary with image"):
        open_dataset([], "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": []}, "1 boxes but 0 labels; expected a dictionary with image"),
        ({"labels": [3]}, "label 3 is no class name; expected"),
        ({"boxes": [[1, 2, 3]]}, "not enough values to unpack"),
        ({"boxes": [[1, 2, 3, "x"]]}, "could not convert string to float"),
        ({"split": "tain"}, "unknown split tain; did you mean train?"),
        ({"image": None}, "expected a dictionary with image"),
    ],
)
def test_records_that_are_wrong(change: dict[str, object], message: str, tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": ""})
    good = {"image": tmp_path / "a.png", "boxes": [[4, 3, 8, 9]], "labels": ["dog"]}
    with pytest.raises(ValueError, match=rf"record 1: .*{message}"):
        open_dataset([good, good | change], "train")
    with pytest.raises(ValueError, match="record 0: no 'boxes'; expected a dictionary with image"):
        open_dataset([{"image": tmp_path / "a.png"}], "train")
