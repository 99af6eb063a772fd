"""Config, tokenizer and chat template of a merged model, always the same donor's, and its `README.md`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.side_files import copy_side_files
from m2m.errors import CheckpointError
from m2m.merging.chat_template import write_chat_template
from m2m.merging.model_config import ConfigChanges
from m2m.merging.recipe.recipe import Recipe
from m2m.merging.vocabulary.configuration import follow_vocabulary
from m2m.merging.vocabulary.tokenizer import tokenizer_files
from m2m.merging.vocabulary.vocabulary import OutputVocabulary
from m2m.support.doors import read_json


def choose_side_files(donor: Checkpoint, vocabulary: OutputVocabulary | None) -> dict[str, Path]:
    """Choose the donor's side files, with the tokenizer that the output gets."""
    files = donor.side_files
    if vocabulary is None or vocabulary.tokenizer.path == donor.path:
        return files
    own = tokenizer_files(files)
    return {name: file for name, file in files.items() if name not in own} | dict(vocabulary.tokenizer.files)


def write_side_files(
    files: Mapping[str, Path],
    folder: Path,
    *,
    changes: ConfigChanges,
    template: str | None,
    vocabulary: OutputVocabulary | None,
) -> None:
    """Copy side files beside merged weights, and let them say what is true of them.

    `changes` is what `config.json` must say; `template` a chat template in place of the donor's; `vocabulary`
    what the recipe makes of tokens.
    """
    copy_side_files(files, folder)
    config = folder / "config.json"
    known = _read_config(config) if config.exists() else {}
    told = changes.applied(known)
    if told != known:
        config.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if vocabulary is not None:
        vocabulary.tokenizer.write(folder)
        follow_vocabulary(folder, vocabulary)
    if template is not None:
        write_chat_template(folder, template)


def _read_config(path: Path) -> dict[str, object]:
    config: dict[str, object] = read_json(path, "a model's configuration", CheckpointError, {})
    return config


def write_card(
    folder: Path, recipe: Recipe, weights: Mapping[str, float] | None, hashes: Mapping[str, str]
) -> None:
    """Write `README.md`: the recipe, what weights took its weights' place, and SHA-256 by weight file.

    The same merge writes the same card.
    """
    import yaml

    rule = recipe.rule
    lines = [
        "---",
        yaml.safe_dump({"tags": ["m2m", "merge"]}, sort_keys=False).strip(),
        "---",
        f"# Merged with m2m: {rule.name}",
        "",
        f"Method: {rule.source}.",
        "",
        "```yaml",
        yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True).strip(),
        "```",
    ]
    if weights is not None:
        lines += ["", "Merging weights in place of the recipe's:", ""]
        lines += ["| expert | weight |", "| --- | --- |"]
        lines += [f"| {expert} | {weight!r} |" for expert, weight in weights.items()]
    lines += ["", "| file | SHA-256 |", "| --- | --- |"]
    lines += [f"| {name} | `{digest}` |" for name, digest in sorted(hashes.items())]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
