"""The look of the report: one page without script or network, for dark and light screens and for paper."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

_MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}

_CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6570; --line: #dde2e7; --paper: #ffffff;
  --card: #f5f7f9; --pick: #b34d00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a3abb5; --line: #3a4149;
  --paper: #14171a; --card: #1e2328; --pick: #ff9a52; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.2rem 1.4rem 3rem; max-width: 62rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h1 b { color: var(--pick); }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
.lead { font-size: 1.05rem; margin: 0; }
.soft, caption, figcaption { color: var(--soft); font-size: .87rem; text-align: left; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .32rem .7rem .32rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td { overflow-wrap: break-word; }
tr.pick td { color: var(--pick); font-weight: 600; }
.pair { display: grid; grid-template-columns: 1fr 20rem; gap: 1.5rem; align-items: start; }
@media (max-width: 50rem) { .pair { grid-template-columns: 1fr; } }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; margin: 0 auto; padding: 6px; background: #fff;
  border-radius: 6px; }
pre { background: var(--card); padding: .8rem; border-radius: 6px; overflow-x: auto; font-size: .82rem; }
li { margin: .3rem 0; }
@media print {
  @page { size: A4; margin: 11mm; }
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #ccc; --paper: #fff; --card: #fff;
    --pick: #b34d00; }
  body { padding: 0; max-width: none; font-size: 9px; line-height: 1.3; }
  h1 { font-size: 17px; } h2 { font-size: 11px; margin: 7px 0 3px; } .lead { font-size: 10px; }
  .soft, caption, figcaption, table, li { font-size: 8px; } li { margin: 1px 0; } ul { margin: 3px 0; }
  th, td { padding: 1px 5px 1px 0; } .pair { grid-template-columns: 1fr 48mm; gap: 5mm; }
  figure { margin: 3px 0; break-inside: avoid; } figure img { max-height: 116mm; padding: 0; }
  details { display: none; }
}
"""


def page(title: str, body: Iterable[str]) -> str:
    """Put parts, HTML that is already escaped, into a page."""
    content = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n{content}\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Put parts, HTML that is already escaped, under a heading."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", picked: str = "") -> str:
    """Lay out a table of texts; `picked` is the first cell of the row to stand out."""
    heads = "".join(f"<th>{escape(text)}</th>" for text in head)
    lines = [_row(row, standing_out=bool(picked) and row[0] == picked) for row in rows]
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    whole = f"<table>{above}<thead><tr>{heads}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="scroll">{whole}</div>'


def _row(cells: Sequence[str], *, standing_out: bool) -> str:
    kind = ' class="pick"' if standing_out else ""
    return f"<tr{kind}>" + "".join(f"<td>{escape(text)}</td>" for text in cells) + "</tr>"


def paragraph(text: str, kind: str = "") -> str:
    """Lay out a paragraph."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """Lay out a list."""
    return "<ul>\n" + "\n".join(f"<li>{escape(line)}</li>" for line in lines) + "\n</ul>"


def folded(title: str, text: str) -> str:
    """Lay out text as it is, folded away until asked for."""
    return f"<details><summary>{escape(title)}</summary>\n<pre>{escape(text)}</pre></details>"


def picture(folder: Path, name: str, caption: str) -> str:
    """Carry a figure inside the page: as SVG if there is one, otherwise as PNG."""
    for suffix, media in _MEDIA.items():
        path = folder / f"{name}{suffix}"
        if path.exists():
            # As an image and not as inline SVG: ids of two figures cannot clash, and nothing in it can run.
            data = base64.b64encode(path.read_bytes()).decode()
            image = f'<img src="data:{media};base64,{data}" alt="{escape(caption)}">'
            return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
    return ""
