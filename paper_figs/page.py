"""The page of results: every figure and table of both papers, from what experiments have found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from m2m.support.files import write_atomically
from paper_figs import style
from paper_figs.error_bound.section import ERROR_BOUND
from paper_figs.merge_to_mix.section import MERGE_TO_MIX
from paper_figs.mergemix.section import MERGEMIX
from paper_figs.part import Part, Section, Table
from paper_figs.questions.section import QUESTIONS
from paper_figs.tables import result

SECTIONS: Sequence[Section] = (MERGE_TO_MIX, MERGEMIX, ERROR_BOUND, QUESTIONS)
#: Where the page's pictures lie beside it.
_PICTURES = Path("img", "results")
_COMMAND = {"fast": "make figures", "full": "make figures FULL=1"}


def write_page(results: Path, figures: Path, page: Path, size: str) -> list[Path]:
    """Draw all figures and write the page, from results alone.

    Args:
        results: Folder with a folder of results an experiment.
        figures: Folder of the figures.
        page: The page; its pictures are copied into `img/results` beside it.
        size: `fast` or `full`, which the results are of.

    Returns:
        The files of the figures.
    """
    blocks, drawn = [_head(results, size)], list[Path]()
    with style.with_pdf():
        for section in SECTIONS:
            blocks += [f"## {section.title}", section.words]
            for part in section.parts:
                files = _drawn(part, results, figures)
                drawn += files
                blocks += [f"### {part.title}", *_shown(part, results, _copied(files, figures, page))]
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, "\n\n".join(blocks) + "\n")
    return drawn


def _head(results: Path, size: str) -> str:
    done = sorted(path.parent.name for path in results.glob("*/result.json"))
    sizes = [f"{name} ({_sizes(results, name)})" for name in done]
    needed = dict.fromkeys(name for section in SECTIONS for part in section.parts for name in part.needs)
    missing = [name for name in needed if name not in done]
    without = f" Not run at this size yet: {', '.join(missing)}." if missing else ""
    return "\n\n".join(
        [
            "# Results",
            f"Written by `{_COMMAND[size]}` from result files, nothing by hand ([how](results_how.md)).",
            f"Experiments, at the size `{size}`: {'; '.join(sizes) or 'none yet'}.{without}",
            "Numbers in brackets are 95 % intervals; what each is about stands below its table. *Merged* is "
            "the mean of the experts' weights, *trained* the model really trained on the mixture. "
            "The paper's numbers are as printed.",
        ]
    )


def _sizes(results: Path, name: str) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in result(results, name)["sizes"].items()
    )


def _drawn(part: Part, results: Path, figures: Path) -> list[Path]:
    return list(part.draw(results, figures)) if part.draw and _is_there(part, results) else []


def _is_there(part: Part, results: Path) -> bool:
    return any((results / name / "result.json").exists() for name in part.needs)


def _copied(files: Sequence[Path], figures: Path, page: Path) -> list[str]:
    """Copy the pictures beside the page; return where they are from there."""
    places = []
    for file in files:
        if file.suffix == ".png":
            place = _PICTURES / file.relative_to(figures)
            (page.parent / place).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(page.parent / place, file.read_bytes())
            places.append(place.as_posix())
    return places


def _shown(part: Part, results: Path, pictures: Sequence[str]) -> Iterator[str]:
    if not _is_there(part, results):
        yield f"Not run at this size yet: {', '.join(part.needs)}."
        return
    yield from (f"![{part.title}]({picture})" for picture in pictures)
    for table in part.tables(results) if part.tables else ():
        yield _markdown(table)
    yield part.caption(results)


def _markdown(table: Table) -> str:
    header, *rows = ([cell.replace("|", "\\|") for cell in row] for row in table.rows)
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"**{table.title}**\n\n{text}" if table.title else text
