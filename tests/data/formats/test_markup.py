from pathlib import Path

import pytest

from edgewise.data.formats import markup
from edgewise.data.formats.markup import read_xml


def test_elements_know_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<a>\n <b x='1'>two\n  <c> three </c></b>\n <b/>\n</a>")
    root = read_xml(path)
    assert (root.tag, root.line, root.get("b/c"), root.get("b/d")) == ("a", 1, "three", "")
    assert [(one.line, one.attributes) for one in root.all("b")] == [(2, {"x": "1"}), (4, {})]


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><a>&y;</a>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("text", [BOMB, OUTSIDE, '<!DOCTYPE a SYSTEM "http://example.com/a.dtd"><a/>'])
def test_document_types_are_refused(text: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match="it declares a document type, which may hide anything; delete its"):
        read_xml(path)


@pytest.mark.parametrize("text", ["", "<a>", "<a></b>", "no", "<a>&x;</a>"])
def test_what_is_no_xml(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ValueError, match="not XML: "):
        read_xml(tmp_path / "a.xml")


def test_endless_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.xml").write_text("<a>" + " " * 100 + "</a>")
    monkeypatch.setattr(markup, "LARGEST", 100)
    with pytest.raises(ValueError, match="more than 100 bytes of XML; export it in parts"):
        read_xml(tmp_path / "a.xml")
