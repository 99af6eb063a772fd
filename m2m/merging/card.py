"""`README.md` of a merged model: which recipe it was made from, and what its files hash to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from m2m.merging.recipe.recipe import Recipe

NAME = "README.md"


def write_card(
    folder: Path, recipe: Recipe, weights: Mapping[str, float] | None, hashes: Mapping[str, str]
) -> None:
    """Write a model card; the same merge writes the same card.

    Args:
        folder: The merged model's folder.
        recipe: What it was made from.
        weights: The merging weights that took the place of the recipe's, by expert, if any did.
        hashes: SHA-256 of its weight files by name.
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
    (folder / NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
