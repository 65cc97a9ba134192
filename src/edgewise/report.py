"""A run's numbers and pictures as one static HTML page that needs nothing but the folder it lies in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

Picture = tuple[str | Path, str]  # file, caption


@dataclass(frozen=True)
class Table:
    """Rows of texts under a header; a `folded` one shows its caption until it is opened."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


def write_report(
    folder: str | Path,
    title: str,
    lead: str,
    summary: Mapping[str, str],
    pictures: Sequence[Picture],
    tables: Sequence[Table] = (),
) -> Path:
    """folder/report.html, written: the title, a paragraph, numbers by name, tables, and pictures in order.

    Every text is shown as it is, markup included. Pictures are files somewhere in `folder`; the page links
    them relatively, so that the folder can move, and gives a wide one the whole row. ValueError for a
    picture outside of the folder.
    """
    folder = Path(folder)
    page = _PAGE.format(
        style=_STYLE,
        title=escape(title),
        lead=escape(lead),
        summary="\n".join(_number(name, value) for name, value in summary.items()),
        tables="\n".join(_table(one) for one in tables),
        pictures="\n".join(_figure(folder, path, caption) for path, caption in pictures),
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _number(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _table(table: Table) -> str:
    def row(kind: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    rows = "\n".join(row("td", cells) for cells in table.rows)
    state = "" if table.folded else " open"
    return (
        f"<details{state}><summary>{escape(table.caption)}</summary>"
        f"<table>\n<thead>{row('th', table.header)}</thead>\n<tbody>\n{rows}\n</tbody>\n</table></details>"
    )


def _figure(folder: Path, path: str | Path, caption: str) -> str:
    full, home = Path(path).resolve(), folder.resolve()
    if not full.is_relative_to(home):
        raise ValueError(f"{path}: a picture of the report is outside of its folder {folder}; save it there")
    with Image.open(full) as image:
        width, height = image.size
    link, text = quote(full.relative_to(home).as_posix()), escape(caption)
    kind = "wide" if width > 1.5 * height else "narrow"
    return (
        f'<figure class="{kind}">'
        f'<a href="{link}"><img src="{link}" width="{width}" height="{height}" alt="{text}"></a>'
        f"<figcaption>{text}</figcaption></figure>"
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{lead}</p>
</header>
<dl>
{summary}
</dl>
{tables}
<main>
{pictures}
</main>
</body>
</html>
"""

_STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f7f7f5; --card: #fff; --line: #e3e2de; --text: #1d1d1b; --faint: #6b6a66;
}
@media (prefers-color-scheme: dark) {
  :root { --ground: #161618; --card: #202023; --line: #34343a; --text: #ececea; --faint: #a09fa6 }
}
* { box-sizing: border-box }
body {
  max-width: 76rem; margin: 0 auto; padding: 3rem 1.5rem 4rem;
  background: var(--ground); color: var(--text); font: 1rem/1.55 system-ui, sans-serif;
}
h1 { margin: 0 0 .5rem; font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.15; letter-spacing: -.02em }
header p { max-width: 42rem; margin: 0; color: var(--faint) }
dl, figure, details { overflow: hidden; border: 1px solid var(--line); border-radius: .75rem }
dl { display: flex; flex-wrap: wrap; gap: 1px; margin: 2rem 0; background: var(--line) }
dl div { flex: 1 1 9rem; padding: .9rem 1.1rem; background: var(--card) }
dt, figcaption { color: var(--faint); font-size: .875rem }
dd { margin: 0; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums }
details { margin: 0 0 1.5rem; background: var(--card); overflow-x: auto }
summary { padding: .8rem 1.1rem; font-weight: 600; cursor: pointer }
table { width: 100%; border-collapse: collapse; font-size: .875rem }
th, td { min-width: 5rem; padding: .5rem 1.1rem; text-align: left; vertical-align: top }
th, td { border-top: 1px solid var(--line) }
th { color: var(--faint); font-weight: 400 }
td { overflow-wrap: anywhere }
main {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1.5rem;
  align-items: start;
}
figure { margin: 0; background: var(--card); break-inside: avoid }
figure.wide { grid-column: 1 / -1 }
figcaption { padding: .8rem 1.1rem }
img { display: block; width: 100%; height: auto }
"""
