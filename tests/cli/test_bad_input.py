"""Bad input → what a user reads: of `edgewise train` one clear error, or what it did about it.

Faults of data are the doctor's table (tests/doctor/test_faults.py) and, below, those of its kinds that need
other files. What it calls an error stops training in the same words, what it calls a warning does not.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewise.api import Detector
from edgewise.data import problems
from edgewise.data.open import available_splits, open_dataset
from edgewise.doctor import checks
from edgewise.doctor.examine import examine
from tests.cli.conftest import Edgewise
from tests.doctor.folders import CLASSES, Coco, Yolo, photo
from tests.doctor.test_faults import CASES, Case
from tests.train.tiny import settings, tiny_config, tiny_model, trainer

Edit = Callable[[dict[str, list[dict[str, Any]]]], object]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "pets.safetensors"
    Detector(tiny_config(len(CLASSES)), CLASSES, device="cpu").save(path)
    return path


def training(data: Path, weights: Path, out: Path, *more: object) -> tuple[object, ...]:
    """The words of a training that takes no time."""
    words = ("train", data, "--model", weights, "--out", out, "--size", "64", "--epochs", "1")
    return (*words, "--device", "cpu", "--set", "workers=0", "--set", "loggers=[]", *more)


# ── everything in the doctor's list ────────────────────────────────────────────────────────────────


def train_file(edit: Edit) -> Callable[[Path], None]:
    return lambda folder: Coco(folder).edit("train", edit)


def labelme_point(folder: Path) -> None:
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[10, 12], [50, 40]]}
    point = {"label": "cat", "shape_type": "point", "points": [[20, 20]]}
    for i in range(4):
        split = folder / ("train" if i < 3 else "val")
        split.mkdir(exist_ok=True)
        photo(i).save(split / f"{i}.png")
        shapes = [shape, point] if i == 1 else [shape]
        content = {"imagePath": f"{i}.png", "imageHeight": 64, "imageWidth": 96, "shapes": shapes}
        (split / f"{i}.json").write_text(json.dumps(content))


def cvat_turned(folder: Path) -> None:
    box, lines = 'label="cat" xtl="10" ytl="12" xbr="50" ybr="40"', []
    for i in range(4):
        photo(i).save(folder / f"{i}.png")
        subset, turn = "train" if i < 3 else "val", ' rotation="30"' if i == 1 else ""
        image = f'id="{i}" name="{i}.png" subset="{subset}" width="96" height="64"'
        lines.append(f"<image {image}><box {box}{turn}/></image>")
    (folder / "annotations.xml").write_text("\n".join(["<annotations>", *lines, "</annotations>"]))


def moved_away(folder: Path) -> None:
    for path in Coco(folder).folder.glob("*/*.jpg"):
        path.unlink()


def two_cats(folder: Path) -> None:
    file = Yolo(folder).folder / "data.yaml"
    file.write_text(file.read_text().replace("[cat, dog]", "[cat, cat]"))


def many_classes(folder: Path) -> None:
    file = Yolo(folder).folder / "data.yaml"
    file.write_text(file.read_text().replace("nc: 2", "nc: 5"))


def two_cases(folder: Path) -> None:
    file = Yolo(folder).folder / "data.yaml"
    file.write_text(file.read_text().replace("[cat, dog]", "[cat, Cat]"))


def all_fractions(folder: Path) -> None:
    box = [0.1, 0.2, 0.3, 0.4]
    Coco(folder).edit("train", lambda coco: [one.update(bbox=box) for one in coco["annotations"]])


def two_formats(folder: Path) -> None:
    Coco(folder)
    (folder / "data.yaml").write_text("train: train\nnames: [cat, dog]\n")


FILE = "train/_annotations.coco.json"
MORE = {
    "no JSON": Case(
        lambda f: Coco(f).file("train").write_text("{"), "error", "file-unreadable", FILE, "^not JSON: ",
    ),
    "a box of three numbers": Case(
        train_file(lambda coco: coco["annotations"][0].update(bbox=[1, 2, 3])),
        "error", "entry-malformed", f"{FILE}: annotation 1",
        r"bbox is \[1, 2, 3\]; expected \[x, y, width, height\]",
    ),
    "words in a label file": Case(
        lambda f: Yolo(f).label("train", 1).write_text("0 0.3 0.4 wide 0.3\n"),
        "error", "entry-malformed", "train/labels/1.txt:1", "wide",
    ),
    "pixels in a label file": Case(
        lambda f: Yolo(f).label("train", 1).write_text("0 30 20 20 10\n"),
        "error", "entry-malformed", "train/labels/1.txt:1", "30 20 20 10",
    ),
    "a point": Case(
        labelme_point, "warning", "entry-foreign", "train/1.json: annotation 2",
        "a point; expected a rectangle",
    ),
    "a turned box": Case(cvat_turned, "warning", "box-rotated", "annotations.xml:3", "turned by 30°"),
    "labels of no image": Case(
        lambda f: Yolo(f).label("train", 9).write_text("0 0.5 0.5 0.5 0.5\n"),
        "warning", "label-without-image", "train/labels/9.txt", "no image is called 9",
    ),
    "a class id twice": Case(
        train_file(lambda coco: coco["categories"].append({"id": 1, "name": "fox"})),
        "error", "category-id-twice", f"{FILE}: category 1", "'fox' is not the first of this id",
    ),
    "two classes of one name in a data.yaml": Case(
        two_cats, "error", "category-name-twice", "data.yaml",
        "category name 'cat' is there 2 times; expected each once",
    ),
    "names that differ only in case": Case(
        two_cases, "warning", "category-name-case", "data.yaml", "^'cat' and 'Cat' differ only in case; give",
    ),
    "another number of classes than names": Case(
        many_classes, "warning", "category-count", "data.yaml", "^nc is 5, but names has 2; correct",
    ),
    "fractions where pixels are expected": Case(
        all_fractions, "error", "box-fractions", FILE,
        r"all 8 boxes end within 0\.6 of the corner of images of 64x96 \(height x width\): fractions of the",
    ),
    "images elsewhere": Case(
        moved_away, "error", "images-not-found", FILE, "none of its images, such as 0.jpg, were found in",
    ),
    "a box of an unlisted image": Case(
        train_file(lambda coco: coco["annotations"][0].update(image_id=50)),
        "error", "image-unknown", f"{FILE}: annotation 1", "image_id 50 is not among the file's images",
    ),
    "an image id twice": Case(
        train_file(lambda coco: coco["images"].append(coco["images"][0] | {"file_name": "1.jpg"})),
        "error", "image-id-twice", f"{FILE}: image 0", "1.jpg is not the first image of this id",
    ),
    "an image out of the folder": Case(
        train_file(lambda coco: coco["images"][1].update(file_name="../val/1.jpg")),
        "error", "image-outside", f"{FILE}: image 1", "'../val/1.jpg' leads out of the image folder",
    ),
    "an image listed twice": Case(
        train_file(lambda coco: coco["images"].append(coco["images"][0] | {"id": 70})),
        "warning", "image-twice", f"{FILE}: image 70", "0.jpg is also image 0",
    ),
    "an annotation id twice": Case(
        train_file(lambda coco: coco["annotations"][1].update(id=1)),
        "warning", "annotation-id-twice", f"{FILE}: annotation 1", "annotation id 1 is there 2 times",
    ),
    "two formats": Case(
        two_formats, "info", "note", "data", "annotations as COCO and YOLO: COCO is read",
    ),
}  # fmt: skip
FAULTS = CASES | MORE
OWN_WORDS = {"image-size": r"the image is .*\(height x width, upright\) but its annotation"}  # of training
LATER = {kind for kind in checks.FAULTS if kind != "note"}  # no annotation tells: training says nothing


def planted(fault: str, folder: Path) -> tuple[Case, Path]:
    data = folder / "data"
    data.mkdir()
    FAULTS[fault].plant(data)
    return FAULTS[fault], data


def faults(*severities: str) -> list[str]:
    return [name for name, case in FAULTS.items() if case.severity in severities]


def test_every_kind_of_problem_is_planted() -> None:
    assert {case.kind for case in FAULTS.values()} == {*problems.FAULTS, *checks.FAULTS}


@pytest.mark.parametrize("fault", MORE)
def test_the_doctor_finds_the_others_too(fault: str, tmp_path: Path) -> None:
    case, data = planted(fault, tmp_path)
    found = [one for one in examine(data, size=(64, 64), queries=30).problems if one.kind == case.kind]
    assert len({(one.where, one.message) for one in found}) == len(found)
    assert (found[0].severity, found[0].where) == (case.severity, case.where)
    assert re.search(case.message, found[0].message)


@pytest.mark.parametrize("fault", faults("error"))
def test_an_error_stops_training_in_the_doctors_words(
    fault: str, weights: Path, edgewise: Edgewise, tmp_path: Path
) -> None:
    case, data = planted(fault, tmp_path)
    code, text = edgewise(*training(data, weights, tmp_path / "run"))
    assert code == 1
    assert text.count("error: ") == 1
    message = text.partition("error: ")[2]
    assert re.search(OWN_WORDS.get(case.kind, case.message.replace("^", "").rstrip("$")), message)
    assert case.where.replace(": image 2", "") in message  # the file; a missing image has its own line
    assert not list((tmp_path / "run").glob("*.safetensors"))


@pytest.mark.parametrize("fault", faults("warning", "info"))
def test_what_is_mended_is_said(fault: str, tmp_path: Path) -> None:
    case, data = planted(fault, tmp_path)
    said = {note for split in available_splits(data) for note in open_dataset(data, split).notes}
    if case.kind == "note":
        assert any(re.search(case.message, note) for note in said)
    elif case.severity == "warning" and case.kind not in LATER:
        meant = problems.FAULTS[case.kind]
        assert f"{meant.many}: 1 ({meant.treatment})" in said
    else:
        assert not said


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        pytest.param(
            lambda f: shutil.rmtree(Coco(f).folder / "train"),
            r"data: no train split; found val \(.*_annotations\.coco\.json\)",
            id="validation only",
        ),
        pytest.param(
            lambda f: [path.write_text("") for path in Yolo(f).folder.glob("train/labels/*.txt")],
            "none of the 4 images of the train split has a box; expected some: there is nothing to learn",
            id="negatives only",
        ),
        pytest.param(
            lambda f: shutil.rmtree(Yolo(f).folder / "train/images"),
            "error: ",
            id="no folder of images",
        ),
        pytest.param(
            lambda f: (Coco(f).folder / "train").rename(f / "photos"),
            "error: ",
            id="another name",
        ),
        pytest.param(
            lambda f: None, "data: no annotations found; expected COCO, YOLO, ", id="an empty folder"
        ),
    ],
)
def test_nothing_to_train_on(
    plant: Callable[[Path], object], message: str, weights: Path, edgewise: Edgewise, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    plant(tmp_path / "data")
    code, text = edgewise(*training(tmp_path / "data", weights, tmp_path / "run"))
    assert code == 1
    assert re.search(message, text)


# ── a typo in a setting ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--set", "optimizer.lrr=0.1"], 1, "unknown key optimizer.lrr; did you mean optimizer.lr?"),
        (["--set", "augmentt.crop=0.1"], 1, "unknown section augmentt; did you mean augment?"),
        (["--set", "augment=none"], 1, "error: settings: augment"),
        (["--set", "augment.crop=7"], 1, "augment.crop: Input should be less than or equal to 1 (given 7)"),
        (["--set", "optimizer.kind=sgd"], 1, "optimizer.kind: Input should be 'adamw' or 'muon'"),
        (["--set", "loggers=[wandbb]"], 1, "error: settings: loggers"),
        (["--set", "freeze=[head]"], 1, "error: settings: freeze"),
        (["--settings", "run.yaml"], 1, "run.yaml: unknown key optimizer.lrr; did you mean optimizer.lr?"),
        (["--settings", "nowhere.yaml"], 1, "error: nowhere.yaml: no such settings file"),
        (["--recipe", "dime"], 2, 'Invalid value "dime" for --recipe'),
        (["--sett", "augment.crop=0.1"], 2, "Unknown option: --sett. Did you mean --set?"),
    ],
)
def test_a_typo_in_a_setting(
    words: list[str],
    code: int,
    message: str,
    weights: Path,
    edgewise: Edgewise,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Coco(tmp_path / "data")
    (tmp_path / "run.yaml").write_text("optimizer: {lrr: 0.1}\n")
    monkeypatch.chdir(tmp_path)
    given, text = edgewise(*training(tmp_path / "data", weights, tmp_path / "run", *words))
    assert given == code
    assert message in text.replace(" │ ", " ")
    assert not (tmp_path / "run").exists()


# ── a checkpoint with other classes ────────────────────────────────────────────────────────────────


def test_a_broken_test_image_does_not_lose_the_run(weights: Path, edgewise: Edgewise, tmp_path: Path) -> None:
    folder = Coco(tmp_path / "data").folder
    shutil.copytree(folder / "val", folder / "test")
    broken = sorted((folder / "test").glob("*.jpg"))[0]
    broken.write_bytes(broken.read_bytes()[:-300])
    code, text = edgewise(*training(folder, weights, tmp_path / "run", "--no-selfcheck"))
    assert code == 1
    best = tmp_path / "run/best.safetensors"
    assert f"error: {best} is trained and whole, but the test split could not be scored: " in text
    assert f"{broken.name}: cannot be decoded" in text
    assert "Mend it, then: edgewise evaluate CHECKPOINT DATA --split test" in text
    assert Detector.from_pretrained(best, device="cpu").class_names == tuple(CLASSES)


def test_a_checkpoint_with_other_classes(weights: Path, edgewise: Edgewise, tmp_path: Path) -> None:
    """Training keeps what it can and says so; evaluation cannot."""
    coco = Coco(tmp_path / "data")
    for split in ("train", "val"):
        coco.edit(split, lambda content: content["categories"][1].update(name="fox"))
    code, text = edgewise(*training(coco.folder, weights, tmp_path / "run"), "--no-selfcheck")
    assert code == 0
    assert "classes known already, whose rows are kept: cat; new, with fresh rows: fox" in text
    code, text = edgewise("evaluate", weights, coco.folder, "--device", "cpu")
    assert code == 1
    assert "only the predictor has dog; only the dataset has fox" in text


# ── what a run needs besides data ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "loggers=[mlflow]",
            "mlflow is not installed, but the settings name it as a logger: pip install mlflow",
        ),
        ("distill.teacher=teacher.safetensors", "teacher.safetensors: no such file"),
    ],
)
def test_what_is_missing_is_said_before_any_check(
    setting: str,
    message: str,
    weights: Path,
    edgewise: Edgewise,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    data = Coco(tmp_path / "data").folder
    code, text = edgewise(*training(data, weights, tmp_path / "run", "--set", setting))
    assert code == 1
    assert message in text
    assert "self-check" not in text


def test_a_broken_installation_is_no_users_error(edgewise: Edgewise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgewise.doctor.examine", None)
    with pytest.raises(ModuleNotFoundError):
        edgewise("doctor", "data")


# ── resuming with other settings ───────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def finished(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a run on it."""
    folder = tmp_path_factory.mktemp("finished")
    data = Coco(folder / "data").folder
    config = settings(schedule__epochs=1, schedule__plain_epochs=0, loggers=())
    Detector.from_pretrained(weights, device="cpu").train(
        data, out=folder / "run", settings=config, selfcheck=False
    )
    return folder


def resumed(finished: Path, folder: Path, *words: object) -> tuple[object, ...]:
    """A copy of the finished run is resumed with these words."""
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    return ("train", folder / "data", "--out", folder / "run", "--resume", *words)


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["--epochs", "2"], "schedule.epochs: 1 before, 2 now"),
        (["--size", "96x96"], "size: (64, 64) before, (96, 96) now"),
        (["--batch", "4"], "batch: 2 before, 4 now"),
        (["--lr", "0.01"], "optimizer.lr: 0.001 before, 0.01 now"),
        (["--seed", "3"], "seed: 0 before, 3 now"),
        (
            ["--set", "loss.l1=1", "--set", "augment.flip=0"],
            "loss.l1: 5.0 before, 1.0 now augment.flip: 0.5 before, 0.0 now",
        ),
        (["--set", "precision=bfloat16"], "precision: auto before, bfloat16 now"),
        (["--recipe", "deim"], "schedule.flat: 1.0 before, 0.5 now"),
        (["--augment", "none"], "augment.photometric: 0.5 before, 0.0 now"),
    ],
)
def test_what_a_resumed_run_may_not_change(
    words: list[str], changed: str, finished: Path, weights: Path, edgewise: Edgewise, tmp_path: Path
) -> None:
    code, text = edgewise(*resumed(finished, tmp_path, "--model", weights, *words))
    assert code == 1
    assert f"last.state is of a run with other settings or data: {changed}" in text
    assert "Resume with what it began with (only schedule.patience, recompute, max_skipped, loggers, " in text


def test_a_resumed_run_is_of_its_own_size(finished: Path, edgewise: Edgewise, tmp_path: Path) -> None:
    code, text = edgewise(*resumed(finished, tmp_path, "--model", "s"))
    assert code == 1
    assert f"--model s is of size s, but the run in {tmp_path / 'run'} is of size " in text
    assert "leave --model out to resume it" in text


def test_what_a_resumed_run_may_change(
    finished: Path, weights: Path, edgewise: Edgewise, tmp_path: Path
) -> None:
    free = (
        "workers=1",
        "validate_every=2",
        "loggers=[]",
        "max_skipped=1",
        "recompute=true",
        "schedule.patience=3",
    )
    words = [word for one in free for word in ("--set", one)]
    code, text = edgewise(*resumed(finished, tmp_path, "--model", weights, "--device", "cpu", *words))
    assert (code, "AP" in text) == (0, True)
    assert "this run was finished already, after 1 epoch" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda coco: coco.box("train", 0, [5, 5, 30, 30]), "fingerprint: ", id="a box is moved"),
        pytest.param(
            lambda coco: coco.add("train", "new.jpg", coco.image("train", 0).read_bytes()),
            "images: 4 before, 5 now",
            id="an image is added",
        ),
        pytest.param(
            lambda coco: [
                coco.edit(split, lambda content: content["categories"][1].update(name="fox"))
                for split in ("train", "val")
            ],
            "classes: ['cat', 'dog'] before, ['cat', 'fox'] now",
            id="a class has another name",
        ),
        pytest.param(lambda coco: coco.image("train", 0).unlink(), "no image 0.jpg", id="an image is gone"),
    ],
)
def test_other_annotations_are_another_run(
    change: Callable[[Coco], object],
    message: str,
    finished: Path,
    weights: Path,
    edgewise: Edgewise,
    tmp_path: Path,
) -> None:
    words = resumed(finished, tmp_path, "--model", weights)
    coco = Coco.__new__(Coco)
    coco.folder = tmp_path / "data"
    change(coco)
    code, text = edgewise(*words)
    assert code == 1
    assert message in text


# ── a data set that changes under the run ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda path: path.unlink(), "no such image file", id="gone"),
        pytest.param(lambda path: path.write_bytes(b""), "empty; expected an image", id="emptied"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes()[:-400]), "cannot be decoded", id="half written"
        ),
        pytest.param(
            lambda path: photo(3, (32, 32)).save(path), "the image is 32x32 .* says 64x96", id="another size"
        ),
    ],
)
def test_images_that_change_under_the_run(
    change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    data = open_dataset(Coco(tmp_path / "data").folder, "train")
    run = trainer(tmp_path / "run", settings(), data=data, model=tiny_model(config=tiny_config(2)))
    steps = run.steps()
    next(steps)
    for path in data.paths:
        change(path)
    with pytest.raises((OSError, ValueError)) as caught:
        list(steps)
    assert re.search(rf"train/\d\.jpg: {message}", str(caught.value))
    assert "the data has changed under the run, or cannot be read: mend it and resume" in str(caught.value)
    assert (tmp_path / "run/last.state").exists()
