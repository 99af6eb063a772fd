"""The look of the report: one page that loads nothing, for dark and light screens and for paper."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape, unescape
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}
#: The browser itself holds the page to what stands in it.
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)

#: Views of a chart by name, each as Plotly reads it.
Views = Mapping[str, Mapping[str, Any]]


def page(title: str, body: Iterable[str], charts: Mapping[str, Views]) -> str:
    """Put parts, HTML that is already escaped, into a page, and the charts that they have places for."""
    content = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_own('page.css')}</style>\n</head>\n<body>\n{content}\n"
        f"{_scripts(charts)}</body>\n</html>\n"
    )


def can_draw() -> bool:
    """Whether the library that draws charts in a browser is there to be put into pages."""
    return find_spec("plotly") is not None


def _scripts(charts: Mapping[str, Views]) -> str:
    if not charts or not can_draw():
        return ""
    from plotly.offline import get_plotlyjs

    named = {name: list(views.values()) for name, views in charts.items()}
    # In a script nothing is escaped, and only `</script>` ends it.
    data = json.dumps(named, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return (
        f'<script type="application/json" id="charts">{data}</script>\n'
        f"<script>{get_plotlyjs()}</script>\n<script>\n{_own('page.js')}</script>\n"
    )


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def section(title: str, *parts: str) -> str:
    """Put parts, HTML that is already escaped, under a heading that `contents` can lead to."""
    return f'<section id="{_anchor(title)}">\n<h2>{escape(title)}</h2>\n' + "\n".join(parts) + "\n</section>"


def contents(sections: Iterable[str]) -> str:
    """Lay out links to the sections of a page."""
    titles = [found[1] for one in sections if (found := re.search("<h2>(.*?)</h2>", one))]
    links = (f'<a href="#{_anchor(unescape(title))}">{title}</a>' for title in titles)
    return "<nav>" + " ".join(links) + "</nav>"


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z]+", "-", title.lower()).strip("-")


def card(title: str, value: str, lines: Iterable[str], kind: str = "") -> str:
    """Lay out a card of the summary: what it is about, the answer, and what belongs to it."""
    below = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return (
        f'<article class="{kind}"><h3>{escape(title)}</h3><strong>{escape(value)}</strong>{below}</article>'
    )


def cards(found: Iterable[str]) -> str:
    """Lay out the summary."""
    return '<div class="cards">\n' + "\n".join(found) + "\n</div>"


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


def shaded(names: Sequence[str], rows: Mapping[str, Sequence[float | None]], caption: str) -> str:
    """Lay out a matrix with a row a name, darker where a number is farther from zero."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    most = max((abs(v) for row in rows.values() for v in row if v is not None), default=0.0) or 1.0
    lines = "\n".join(
        f"<tr><th>{escape(name)}</th>" + "".join(_shade(value, most) for value in row) + "</tr>"
        for name, row in rows.items()
    )
    return (
        f'<div class="scroll">{paragraph(caption, "soft")}<table class="shaded">'
        f"<thead><tr><th></th>{heads}</tr></thead>\n<tbody>{lines}</tbody></table></div>"
    )


def _shade(value: float | None, most: float) -> str:
    if value is None:
        return "<td>–</td>"
    colour = "--blue" if value > 0 else "--vermilion"
    share = round(55 * abs(value) / most)
    return f'<td style="background: color-mix(in srgb, var({colour}) {share}%, transparent)">{value:.2f}</td>'


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
    found = image(folder, name, caption)
    return found and f"<figure>{found}<figcaption>{escape(caption)}</figcaption></figure>"


def chart(name: str, views: Views, caption: str, still: str) -> str:
    """Make a place for a chart of the page, and what stands there on paper or where nothing draws it.

    Args:
        name: What it is called among the page's charts.
        views: Its views; with several there is a button each.
        caption: What it shows.
        still: HTML that says the same without drawing.

    Returns:
        The place.
    """
    buttons = "".join(
        f'<button aria-pressed="{str(not place).lower()}">{escape(view)}</button>'
        for place, view in enumerate(views)
    )
    return (
        f'<figure data-chart="{name}">'
        + (f'<div class="views">{buttons}</div>' if len(views) > 1 else "")
        + f'<div class="live"></div><output class="pinned"></output><div class="still">{still}</div>'
        + f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def image(folder: Path, name: str, words: str) -> str:
    """Carry a figure without a caption, to stand for a chart; empty if there is none."""
    for suffix, media in _MEDIA.items():
        path = folder / f"{name}{suffix}"
        if path.exists():
            # As an image and not as inline SVG: ids of two figures cannot clash, and nothing in it can run.
            data = base64.b64encode(path.read_bytes()).decode()
            return f'<img src="data:{media};base64,{data}" alt="{escape(words)}">'
    return ""
