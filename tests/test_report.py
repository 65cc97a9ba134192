from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from edgewise.report import Table, write_report


class Page(HTMLParser):
    """Tags in order, attributes of each, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _picture(path: Path, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def test_a_report_shows_its_texts_numbers_and_pictures(tmp_path: Path) -> None:
    first = _picture(tmp_path / "pictures/one.png", (8, 6))
    second = _picture(tmp_path / "two & three #4.png", (3, 5))
    path = write_report(
        tmp_path,
        "Scenes",
        "What came out.",
        {"AP50": "0.71", "images": "64"},
        [(first, "the first"), (second, "the second")],
    )
    assert path == tmp_path / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    for text in ("Scenes", "What came out.", "AP50", "0.71", "images", "64", "the first", "the second"):
        assert text in page.texts
    assert page.of("img") == [
        {"src": "pictures/one.png", "width": "8", "height": "6", "alt": "the first"},
        {"src": "two%20%26%20three%20%234.png", "width": "3", "height": "5", "alt": "the second"},
    ]


def test_texts_are_escaped(tmp_path: Path) -> None:
    picture = _picture(tmp_path / "one.png")
    nasty = '<script>alert("1")</script> & {title} "quoted"'
    path = write_report(tmp_path, nasty, nasty, {nasty: nasty}, [(picture, nasty)])
    page = Page(path.read_text(encoding="utf-8"))
    assert page.of("script") == []
    assert page.texts.count(nasty) == 6  # twice the title
    assert page.of("img")[0]["alt"] == nasty


def test_tables_are_shown_or_folded(tmp_path: Path) -> None:
    tables = [
        Table("found", ("kind", "count"), [("<b>", "1"), ("b", "2")]),
        Table("all of it", ("where",), [], folded=True),
    ]
    page = Page(write_report(tmp_path, "t", "l", {}, [], tables).read_text(encoding="utf-8"))
    assert page.of("details") == [{"open": None}, {}]
    assert len(page.of("tr")) == 4
    assert len(page.of("th")) == 3
    assert {"found", "kind", "count", "<b>", "1", "b", "2", "all of it", "where"} <= set(page.texts)


def test_only_a_wide_picture_takes_a_whole_row(tmp_path: Path) -> None:
    pictures = [
        (_picture(tmp_path / "wide.png", (16, 9)), "c"),
        (_picture(tmp_path / "one.png", (4, 3)), "c"),
    ]
    page = Page(write_report(tmp_path, "t", "l", {}, pictures).read_text(encoding="utf-8"))
    assert page.of("figure") == [{"class": "wide"}, {"class": "narrow"}]


def test_a_report_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    picture = _picture(tmp_path / "one.png")
    text = write_report(tmp_path, "t", "l", {}, [(picture, "c")]).read_text(encoding="utf-8")
    assert "//" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text


def test_folder_and_pictures_may_be_relative_to_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture = _picture(Path("out") / "one.png")
    page = Page(write_report("out", "t", "l", {}, [(picture, "c")]).read_text(encoding="utf-8"))
    assert page.of("img")[0]["src"] == "one.png"


def test_a_picture_must_lie_in_the_folder(tmp_path: Path) -> None:
    outside = _picture(tmp_path / "outside.png")
    folder = tmp_path / "report"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"outside\.png: .* outside of its folder .*report; save it there"):
        write_report(folder, "t", "l", {}, [(outside, "c")])
    with pytest.raises(FileNotFoundError, match="missing"):
        write_report(folder, "t", "l", {}, [(folder / "missing.png", "c")])
