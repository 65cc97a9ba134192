"""XML from strangers: the standard library's parser, without document types, entities or endless files.

Keeps the line of every element, which problems are reported by.
"""

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

LARGEST = 2**28  # bytes


@dataclass
class Element:
    """One element. `text` is what stands directly in it, stripped."""

    tag: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, tag: str) -> list["Element"]:
        """The direct children of that name."""
        return [one for one in self.children if one.tag == tag]

    def get(self, path: str) -> str:
        """The text of the first element at `path`, such as size/width; empty if there is none."""
        found = [self]
        for tag in path.split("/"):
            found = found[0].all(tag) if found else []
        return found[0].text.strip() if found else ""


def read_xml(path: Path) -> Element:
    """The root element of a file. ValueError says why it is not read."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes of XML; export it in parts")
    builder = _Builder()
    try:
        builder.parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise ValueError(f"not XML: {error}") from None
    return builder.open[0].children[0]


class _Builder:
    """What the parser calls: `open` are the elements around the place it has come to."""

    def __init__(self) -> None:
        self.open = [Element("", {}, 0)]
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text
        self.parser.StartDoctypeDeclHandler = self.refuse

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes, self.parser.CurrentLineNumber)
        self.open[-1].children.append(element)
        self.open.append(element)

    def end(self, tag: str) -> None:
        self.open.pop()

    def text(self, data: str) -> None:
        self.open[-1].text += data

    def refuse(self, *_: object) -> None:
        raise ValueError("it declares a document type, which may hide anything; delete its <!DOCTYPE …>")
