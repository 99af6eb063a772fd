"""The chat template of a merged model: by name, as Jinja, from a file, or the inputs' most common one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.tokenizer import chat_template, read_configuration
from m2m.errors import RecipeError
from m2m.support.doors import read_text
from m2m.support.schema import did_you_mean

#: Templates that may be asked for by name; how each writes a conversation is in docs/vocabularies.md.
NAMES = ("alpaca", "chatml", "exaone", "llama3", "mistral")
#: What asks for the most common template of the inputs.
AUTO = "auto"
_WHAT = "a chat template"
#: Templates beside the default one, and where older processors look: the recipe's takes their place.
_OTHERS = ("chat_template.json", "additional_chat_templates/*.jinja")


def read_chat_template(value: object) -> str | None:
    """Read the recipe's `chat_template`: a Jinja text, or `auto`; None for the donor's."""
    if value is None or value == AUTO or (isinstance(value, str) and "{" in value):
        return value
    if value in NAMES:
        place = resources.files("m2m.merging") / "chat_templates" / f"{value}.jinja"
        return place.read_text(encoding="utf-8")
    if isinstance(value, str) and value.endswith(".jinja"):
        return read_text(Path(value), _WHAT, RecipeError)
    hint = did_you_mean(value, (*NAMES, AUTO)) if isinstance(value, str) else ""
    raise RecipeError(
        f"chat_template {value!r:.80} is none{hint}: wanted {', '.join(NAMES)}, {AUTO}, a file whose name "
        "ends in .jinja, or the Jinja text itself"
    )


def most_common_template(models: Iterable[Checkpoint]) -> tuple[str | None, str]:
    """The template that most models have, of equally many the first; and what to tell the user of it."""
    by_model = {model.path: chat_template(model) for model in models}
    found = Counter(text.strip() for text in by_model.values() if text)
    if not found:
        return None, "chat_template auto: no model has a chat template, and none is written"
    text, count = found.most_common(1)[0]
    first = next(path for path, own in by_model.items() if own and own.strip() == text)
    return (
        text,
        f"chat_template auto: that of {first} is written, which {count} of {len(by_model)} models have",
    )


def write_chat_template(folder: Path, text: str) -> None:
    """Write a template into a finished folder, in place of any there."""
    for pattern in _OTHERS:
        for file in folder.glob(pattern):
            file.unlink()
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    # Loaders of before that file read it from here; later ones take the file.
    config = folder / "tokenizer_config.json"
    if config.exists():
        content = {**read_configuration(config), "chat_template": text}
        text = json.dumps(content, indent=2, ensure_ascii=False)
        config.write_text(text + "\n", encoding="utf-8")
