"""The report's sections on what a run read and how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m2m.errors import RunFolderError
from m2m.mixture import Mixture
from m2m.pipeline.data_read import EXPOSURE_HEAD, exposure_rows
from m2m.pipeline.report.page import bullets, folded, paragraph, table
from m2m.pipeline.run_folder import RunFolder
from m2m.setups.rows.contamination import DUPLICATES_HEAD, OVERLAP_HEAD, Contamination
from m2m.setups.rows.inventory import HEAD, Inventory
from m2m.setups.rows.word_runs import FEWEST, RUN
from m2m.support.doors import read_json, read_text, reading
from m2m.training import TrainRecipe

_Results = Mapping[str, Any]


def data_read(inventory: Inventory, results: _Results | None) -> Iterator[str]:
    """Lay out what was read, and where there are results what trainings see of it."""
    yield table(HEAD, inventory.rows(), "Documents count once; tokens of text are counted as it is packed.")
    if results is not None:
        picked = Mixture.subset(results["datasets"], results["picked"])
        caption = "How often trainings go through each dataset, and what the training on the pick sees of it."
        yield table(EXPOSURE_HEAD, exposure_rows(inventory, _recipe(results), picked), caption)
    if notes := list(inventory.notes()):
        yield bullets(notes)


def in_common(found: Contamination) -> Iterator[str]:
    """Lay out contamination."""
    if rows := found.overlap_rows():
        caption = (
            f"Documents of targets that share {RUN} words in a row with a dataset, or all {FEWEST} to "
            f"{RUN - 1} of theirs; shorter ones are compared whole. Words of templates do not count."
        )
        yield table(OVERLAP_HEAD, rows, caption)
    else:
        yield paragraph(f"No document of a target shares {RUN} words in a row with a dataset.")
    if rows := found.duplicate_rows():
        caption = "Documents of datasets, four fifths of whose runs of words stand in one other document."
        if found.every > 1:
            caption += f" Estimated from one run of {found.every}."
        yield table(DUPLICATES_HEAD, rows, caption)
    if notes := list(found.notes()):
        yield bullets(notes)


def _recipe(results: _Results) -> TrainRecipe:
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in results["recipe"].items()
    }
    with reading("a run's results", "its `recipe`", RunFolderError):
        return TrainRecipe(**values)


def making(folder: RunFolder, results: _Results) -> Iterator[str]:
    """Lay out recipe, seed, versions, seconds and configuration."""
    seconds = results["seconds"]
    facts = {
        "recipe": results["recipe"],
        "seed": results["seed"],
        "versions": {"m2m": results["m2m"], **_versions(folder)},
        "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
    }
    yield table(["what", "value"], [[name, _plain(value)] for name, value in facts.items()])
    yield configuration(folder)


def configuration(folder: RunFolder) -> str:
    """Lay out the configuration as it was given, folded away; empty where there is none."""
    if not folder.config.exists():
        return ""
    return folded("config.toml", read_text(folder.config, "a run's configuration", RunFolderError))


def _versions(folder: RunFolder) -> dict[str, str]:
    """Return the versions that the fidelity analysis noted, if it was made."""
    path = folder.figures / "fidelity.json"
    if not path.exists():
        return {}
    content = read_json(path, "what `m2m-analysis fidelity` writes", RunFolderError, {"versions": {str: str}})
    versions: dict[str, str] = content["versions"]
    return {name: version for name, version in versions.items() if name != "m2m"}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " · ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return (
        ", ".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )
