"""Names of datasets, targets, experts and candidates: one rule, as they become folders, labels, columns."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath

from m2m.errors import ConfigError, InputError, MixtureError
from m2m.support.schema import repeated

#: Most bytes of a name; a folder's has at most 255, and temporary names add 14.
LONGEST = 240
#: Columns that tables of candidates have beside a column a dataset.
COLUMNS = frozenset(
    {"candidate", "members", "kind", "value", "error", "picked", "predicted", "utility", "index"}
)

#: Says what is wrong with a name; None for a good one.
Rule = Callable[[object], str | None]


def text_fault(name: object) -> str | None:
    """What keeps a text from being read as it was written, in a message, a table, an option, if anything."""
    if not isinstance(name, str):
        return "is not a text"
    if not name:
        return "is empty"
    hidden = next((character for character in name if not character.isprintable()), None)
    if hidden is not None:
        return f"has the unprintable character U+{ord(hidden):04X}"
    if name != name.strip():
        return "has blanks at its ends"
    return None


def label_fault(name: object) -> str | None:
    """What keeps a name from standing in a label, `a+b` or `a=0.25+b=0.75`, if anything."""
    if fault := text_fault(name):
        return fault
    return _holds(str(name), {"+": "joins names in labels", "=": "stands before a weight in labels"})


def folder_fault(name: object) -> str | None:
    """What keeps a text, such as a label, from being a folder's name on any machine, if anything."""
    if fault := text_fault(name):
        return fault
    text = str(name)
    if text[0] == ".":
        return "begins with '.', as hidden files and '..' do"
    if text[0] in "-@+=":
        return f"begins with {text[0]!r}, as options or a spreadsheet's formulas do"
    if len(text.encode()) > LONGEST:
        return f"has {len(text.encode())} bytes, more than {LONGEST}"
    return _holds(text, {"/": "separates folders", "\\": "separates folders"})


def fault(name: object) -> str | None:
    """What keeps a name from being used for a dataset, a target or an expert, if anything."""
    if found := label_fault(name) or folder_fault(name):
        return found
    if name in COLUMNS:
        return "is the name of a column in tables of candidates"
    return _holds(str(name), {",": "separates names in lists", "$": "begins a formula in figures"})


def check_names(
    names: Iterable[object], what: str, rule: Rule = fault, error: type[InputError] = ConfigError
) -> None:
    """Refuse names that cannot be used, or that some file system would take for one."""
    seen: dict[str, object] = {}
    for name in names:
        if found := rule(name):
            raise error(f"{what} name {name!r:.300} {found}{_suggestion(name, rule)}")
        other = seen.setdefault(alike(str(name)), name)
        if other != name:
            raise error(
                f"{what} names {other!r} and {name!r} differ in case or Unicode form only, which is one "
                "folder on some file systems; rename one"
            )


def alike(name: str) -> str:
    """Map names that differ in case or Unicode normal form only to the same text."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def short_names(paths: Sequence[str | PurePath]) -> list[str]:
    """Name paths [N] by their last parts, or by the folders nearest to them that tell them all apart."""
    # `experts/law/seed0` and `experts/web/seed0` are `law` and `web`. Where no level tells paths apart, all
    # parts that differ are joined by `_`; only equal paths keep equal names.
    parts = [PurePath(os.path.normpath(path)).parts or ("",) for path in paths]
    for level in range(1, 1 + min(map(len, parts), default=0)):
        names = [each[-level] for each in parts]
        if repeated(names) is None:
            return names
    depth = max(map(len, parts), default=0)
    padded = [("",) * (depth - len(each)) + each for each in parts]
    differing = [n for n in range(depth) if len({each[n] for each in padded}) > 1]
    return ["_".join(each[n] for n in differing if each[n].strip("/")) or each[-1] for each in padded]


def split_label(label: str) -> list[str]:
    """Take a label apart at its `+`: `a+b` or `a=0.25+b=0.75`, also with blanks."""
    parts = [part.strip() for part in label.split("+")]
    twice = [part for part in parts if parts.count(part) > 1]
    if not all(parts) or twice:
        what = f"{twice[0]!r} is there twice" if all(parts) else "there is no name beside a '+'"
        raise MixtureError(f"{what} in {label!r}; wanted different names, as in a+b")
    return parts


def _holds(name: str, forbidden: dict[str, str]) -> str | None:
    return next((f"has {a!r}, which {meaning}" for a, meaning in forbidden.items() if a in name), None)


def _suggestion(name: object, rule: Rule) -> str:
    other = re.sub(r"[^\w .()-]+", "_", str(name))[: LONGEST // 4].strip("._- ")
    return "" if rule(other) else f"; rename it, for example to {other!r}"
