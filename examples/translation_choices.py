"""Write questions with four choices for the targets of translation_smollm2.toml: which translation is right?

python examples/translation_choices.py [--items 80]

A target's messages are those that no dataset has in any language. The wrong choices are translations of
other messages into the same language: with as many placeholders as the right one, and of those the three
that are closest in length, so that neither gives it away. The file translation_choices.jsonl, which the
configurations name, is written beside them; `--items` is how many questions a language has at most.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

from m2m.data import cache_dir
from m2m.setups.rows.formats import Completion
from m2m.setups.rows.gettext import placeholders
from m2m.setups.text import TextSource

CONFIG = Path(__file__).with_name("translation_smollm2.toml")
FILE = Path(__file__).with_name("translation_choices.jsonl")
CHOICES = 4
#: Keys of a target that say where its data are.
SOURCE = ("package", "files", "read", "prompt", "letters", "share")


def questions(pairs: list[Completion], items: int) -> list[dict[str, Any]]:
    """Make questions of the first pairs, with the translations of all others to choose wrong answers from.

    Args:
        pairs: Messages and their translations, in an order that is random and fixed.
        items: Most questions.

    Returns:
        The questions; the right choice stands in each place equally often.
    """
    made = []
    for number, pair in enumerate(pairs[:items]):
        others = [other.completion for other in pairs if other.completion != pair.completion]
        wrong = sorted(dict.fromkeys(others), key=lambda text: _distance(text, pair.completion))[
            : CHOICES - 1
        ]
        choices = wrong[:]
        choices.insert(number % CHOICES, pair.completion)
        made.append({"question": pair.prompt, "choices": choices, "answer": number % CHOICES})
    return made


def _distance(one: str, other: str) -> tuple[int, int]:
    """How little a text looks like another: difference in placeholders, then in letters."""
    return (
        abs(placeholders(one).total() - placeholders(other).total()),
        abs(len(one) - len(other)),
    )


def main(items: int) -> None:
    """Write the file and say what it is."""
    tables = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["setup"]["targets"]
    rows = []
    for name, table in tables.items():
        if "task" in table:
            continue
        source = TextSource.parse({key: table[key] for key in SOURCE}, f"[setup.targets.{name}]")
        found = source.collect(CONFIG.parent, cache_dir()).documents.values()
        made = questions([pair for pair in found if isinstance(pair, Completion)], items)
        rows += [{"language": name, **row} for row in made]
        print(f"{name}: {len(made)} questions; the first: {json.dumps(made[0], ensure_ascii=False)}")
    FILE.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{FILE}: {len(rows)} questions")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=80)
    main(parser.parse_args().items)
