"""Names of datasets, targets, experts and candidates: one rule, as they become folders, labels, columns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from m2m.errors import ConfigError, InputError, MixtureError

#: Most bytes of a name; a folder's has at most 255, and temporary names add 14.
LONGEST = 240
#: Columns that tables of candidates have beside a column a dataset.
COLUMNS = frozenset({"candidate", "members", "kind", "value", "error", "predicted", "worth", "index"})

#: Says what is wrong with a name; None for a good one.
Rule = Callable[[object], str | None]


def text_fault(name: object) -> str | None:
    """Say what keeps a text from being read as it was written: in a message, a table, an option.

    Args:
        name: The text.

    Returns:
        What is wrong; None if nothing is.
    """
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
    """Say what keeps a name from standing in a label, `a+b` or `a=0.25+b=0.75`.

    Args:
        name: The name.

    Returns:
        What is wrong; None if nothing is.
    """
    if fault := text_fault(name):
        return fault
    return _holds(str(name), {"+": "joins names in labels", "=": "stands before a weight in labels"})


def folder_fault(name: object) -> str | None:
    """Say what keeps a text, such as a label, from being the name of a folder on any machine.

    Args:
        name: The text.

    Returns:
        What is wrong; None if nothing is.
    """
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
    """Say what keeps a name from being used for a dataset, a target or an expert.

    Args:
        name: The name.

    Returns:
        What is wrong; None if nothing is.
    """
    if found := label_fault(name) or folder_fault(name):
        return found
    if name in COLUMNS:
        return "is the name of a column in tables of candidates"
    return _holds(str(name), {",": "separates names in lists", "$": "begins a formula in figures"})


def check_names(
    names: Iterable[object], what: str, rule: Rule = fault, error: type[InputError] = ConfigError
) -> None:
    """Refuse names that cannot be used, or that some file system would take for one.

    Args:
        names: The names of one kind.
        what: What they name, for messages: `dataset`, or `c.toml [setup.datasets]: dataset`.
        rule: What is asked of each.
        error: The error's class.

    Raises:
        InputError: If a name breaks the rule, or two differ by no more than case or Unicode form; names it.
    """  # noqa: DOC502 - as `error`
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
    """Map a name to what all names have in common that some file system takes for the same.

    Args:
        name: The name.

    Returns:
        The same text for names that differ in case or Unicode normal form only.
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def split_label(label: str) -> list[str]:
    """Take a label apart at its `+`.

    Args:
        label: `a+b` or `a=0.25+b=0.75`, as labels are or as a person writes them, with blanks.

    Returns:
        The parts, without blanks around them.

    Raises:
        MixtureError: If a part is empty, or there twice.
    """
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
