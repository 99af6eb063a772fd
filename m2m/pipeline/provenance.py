"""What a trained checkpoint was made from: noted in its manifest, and held against what is wanted of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.locate import CURVE_NAME, MOMENTS_NAME
from m2m.checkpoint.manifest import read_manifest
from m2m.errors import RunFolderError
from m2m.merging.lora import is_adapter
from m2m.mixture import Mixture
from m2m.support.content_keys import content_key
from m2m.training import TrainRecipe
from m2m.training.training_loop import REVISION

#: Key of a manifest.
KEY = "made_from"
#: What it means when a part differs.
_OTHER = {
    "setup": "made from other data, another model or other options",
    "mixture": "trained on another mixture",
    "seed": "trained with another seed",
    "recipe": "trained by another recipe",
    "base": "trained from another base model",
    "revision": "trained by another version of m2m's training",
    "moments": "trained without keeping its second moments (save_moments)",
    "command": "trained by another command than train.command",
    "expert": "trained by this run, or taken from another model than train.experts names",
}


def checkpoint_key(folder: Path) -> str:
    """Hash a checkpoint's files, as its manifest has them; moments and losses are no part of a model."""
    files, beside = read_manifest(folder)["files"], (MOMENTS_NAME, CURVE_NAME)
    return content_key([(n, entry["sha256"]) for n, entry in sorted(files.items()) if n not in beside])


def made_from(
    mixture: Mixture, seed: int, recipe: TrainRecipe, base: str, contents: Mapping[str, str]
) -> dict[str, Any]:
    """Return what training a mixture depends on, and what is kept beside it, as JSON for the manifest."""
    return {
        "mixture": {name: share for name, share in mixture.shares.items() if share > 0},
        "seed": seed,
        "recipe": recipe.deciding,
        "base": base,
        "data": {name: contents[f"dataset {name}"] for name in mixture.members},
        "revision": REVISION,
        **({"moments": True} if keeps_moments(mixture, recipe) else {}),
    }


def taken_from(mixture: Mixture, seed: int, expert: str, base: str) -> dict[str, Any]:
    """Return what a model that was trained elsewhere is, as JSON for the manifest; `expert` is its key."""
    return {"mixture": dict.fromkeys(mixture.members, 1.0), "seed": seed, "expert": expert, "base": base}


def made_by(
    command: Sequence[str],
    mixture: Mixture,
    seed: int,
    recipe: TrainRecipe,
    base: str,
    contents: Mapping[str, str],
) -> dict[str, Any]:
    """Return what a training by the user's own program depends on, as far as m2m knows, as `made_from`."""
    ours = made_from(mixture, seed, recipe, base, contents)
    parts = ("mixture", "seed", "recipe", "base", "data")
    return {"command": [*command], **{part: ours[part] for part in parts}}


def taken_key(folder: Path) -> str:
    """Return the key of the model that a checkpoint was taken from; empty if it was not taken."""
    found = read_manifest(folder).get(KEY)
    return str(found.get("expert", "")) if isinstance(found, dict) else ""


def keeps_moments(mixture: Mixture, recipe: TrainRecipe) -> bool:
    """Whether a training leaves AdamW's second moments beside its weights: an expert's, where asked for."""
    return recipe.save_moments and len(mixture.members) == 1


def check_made_from(folder: Path, wanted: Mapping[str, Any], *, noted: bool) -> None:
    """Refuse a checkpoint of another origin, or, where that must be `noted`, of none that it tells."""
    found = read_manifest(folder).get(KEY)
    if found is None:
        if noted or not _is_of_an_earlier_m2m(folder, wanted):
            raise _refusal(folder, "holds a checkpoint that does not say what it was made from")
        return
    plain, known = json.loads(json.dumps(wanted)), found if isinstance(found, dict) else {}
    differing = [part for part in ("expert", "command") if part in known and part not in plain]
    differing += [part for part in plain if known.get(part) != plain[part]]
    if differing:
        raise _refusal(folder, f"holds a model that was {_difference(differing[0], found, plain)}")


def check_base(folder: Path, versions: Sequence[str], *, noted: bool) -> None:
    """Refuse a base model of another set-up than this version, or an earlier one of the same base model."""
    found = read_manifest(folder).get(KEY)
    said = found.get("setup") if isinstance(found, dict) else None
    check_made_from(folder, {"setup": said if said in versions else versions[0]}, noted=noted)


def _difference(part: str, found: Any, wanted: Mapping[str, Any]) -> str:
    if part != "data":
        return _OTHER[part]
    before = found.get(part)
    known = before if isinstance(before, dict) else {}
    changed = [name for name, key in wanted[part].items() if known.get(name) != key]
    return f"trained on other data: {', '.join(map(repr, changed))} changed since"


def _refusal(folder: Path, what: str) -> RunFolderError:
    return RunFolderError(
        f"{folder} {what}; it is not used, and left as it is: remove it to make it anew, or give the run a "
        "folder of its own"
    )


def _is_of_an_earlier_m2m(folder: Path, wanted: Mapping[str, Any]) -> bool:
    if is_adapter(folder):
        return False
    # Headers had the mixture's label, with rounded shares, and the seed.
    notes = Checkpoint(folder).metadata
    if "mixture" not in wanted:
        return notes.get("mixture") == "base"
    mixture = Mixture(tuple(wanted["mixture"]), tuple(wanted["mixture"].values()))
    same_mixture = notes.get("mixture") in (mixture.label, mixture.shown)
    return same_mixture and notes.get("seed") == str(wanted["seed"])
