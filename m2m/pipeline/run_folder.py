"""One run folder: where everything lies, what its files say, and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from m2m.errors import RunFolderError
from m2m.mixture import Mixture
from m2m.setups.rows.contamination import SHAPE as CONTAMINATION
from m2m.setups.rows.contamination import Contamination
from m2m.setups.rows.inventory import SHAPE as INVENTORY
from m2m.setups.rows.inventory import Inventory
from m2m.support.doors import read_json
from m2m.support.files import write_atomically
from m2m.support.outputs import RUN_MARK
from m2m.support.schema import PERHAPS

if TYPE_CHECKING:
    from m2m.pipeline.config import RunConfig

#: What `run.json` says.
_GREW = [{"dataset": str, "version": str, "picked": (NoneType, [str])}]
_IDENTITY = {
    "identity": str, "root": str, "contents?": {str: str}, "origins_noted?": bool, "grew?": _GREW
}  # fmt: skip
_INTERVAL = {"low?": PERHAPS, "high?": PERHAPS, "about?": str, "reason?": str}
_ESTIMATE = {
    "value": PERHAPS,
    "low": PERHAPS,
    "high": PERHAPS,
    "n": int,
    "reason?": (NoneType, str),
    "about?": str,
    "intervals?": {str: _INTERVAL},
}
_FIDELITY = {
    "mixtures": {
        "pearson": _ESTIMATE,
        "spearman": _ESTIMATE,
    },
    "with_singletons?": {"pearson?": _ESTIMATE},
    "ceiling?": {"pearson?": {"value": PERHAPS, "low": PERHAPS, "high": PERHAPS, "attainable?": PERHAPS}},
    "regret?": PERHAPS,
    "regret_of_random?": PERHAPS,
    "rank?": (NoneType, int),
    "candidates?": int,
    "reason?": str,
}
_BESIDE = {
    "surrogates": {str: str},
    "overall": {
        str: {
            "pearson": PERHAPS,
            "spearman": PERHAPS,
            "pearson_lead": _ESTIMATE | {"method": str},
            "spearman_lead": _ESTIMATE | {"method": str},
            "n": int,
        }
    },
    "choices": {str: {"utilities": int, "best_is_mixed": int, "picked_one": int, "regret": {str: _ESTIMATE}}},
    "left_out?": {str: str},
    "reason?": str,
}
_UTILITY = {
    "weights": {str: float},
    "scales": {str: float},
    "test": {str: {str: PERHAPS}},
    "validation": {str: {str: PERHAPS}},
}
_TAKEN = {"mixture": [str], "trained": bool, "regret": float, "limit": float, "within": float}
_TRUST = {
    "stopped": str,
    "trainings": [{"mixture": [str], "purpose": str, "free": bool}],
    "reason?": str,
    "mixtures?": int,
    "trained?": int,
    "tolerance?": float,
    "limit_level?": float,
    "range?": float,
    "pick?": _TAKEN,
    "merging?": _TAKEN,
    "believed?": _TAKEN,
    "pearson?": _ESTIMATE,
    "spearman?": _ESTIMATE,
    "next?": (NoneType, {"mixture": str, "regret": float, "after": float}),
}
_LEAD = {"value": float, "low": float, "high": float, "n": int}
_MERGED = {"mixture": [str], "score": float, "difference": float, "lead": (NoneType, _LEAD)}
#: What programs take out of `results.json`, where it is there.
_RESULTS = {
    "target": str,
    "metric": str,
    "higher_is_better": bool,
    "metrics": {str: {"metric": str, "higher_is_better": bool}},
    "datasets": [str],
    "candidates": {"scored": int, "of": int},
    "picked": [str],
    "picked_after_trainings": [str],
    "why": str,
    "trust": _TRUST,
    "grew": _GREW,
    "all": [str],
    "similarity": [str],
    "random": [str],
    "oracle": (NoneType, [str]),
    "test": {"picked": float, str: PERHAPS},
    "validation": {str: PERHAPS},
    "ties": int,
    "best_merged": [_MERGED],
    "fidelity": {str: _FIDELITY},
    "beside": _BESIDE,
    "utility": _UTILITY,
    "similarities": {str: {str: float}},
    "seconds": {str: float},
    "recipe": dict,
    "seed": int,
    "m2m": str,
}

#: What is said of a folder, and what of it.
OF_OTHER_DATA = (
    "{}: {} since this run began, and its scores must not be of two things; it is left as it is: give the "
    "new run a folder of its own, or bring back what this one was made from"
)

_WRITE_ANEW = (
    "if an earlier m2m wrote it, the run's own command (m2m run CONFIG --out FOLDER) writes it anew from the "
    "scores, and trains nothing"
)


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder.

    Attributes:
        root: The folder.
        notes: What its user should be told.
    """

    root: Path
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def config(self) -> Path:
        """The configuration as it was given, frozen."""
        return self.root / "config.toml"

    @property
    def identity(self) -> Path:
        """What the folder was made from; its presence marks a folder as a run."""
        return self.root / RUN_MARK

    @property
    def base(self) -> Path:
        """Checkpoint of the base model θ₀."""
        return self.root / "base"

    @property
    def trainings(self) -> Path:
        """Folder of what a trainer of the user's was told, said and left."""
        return self.root / "trainings"

    @property
    def table(self) -> Path:
        """The table of scores (SQLite)."""
        return self.root / "scores.sqlite"

    @property
    def csv(self) -> Path:
        """The same table for people and spreadsheets."""
        return self.root / "scores.csv"

    @property
    def data(self) -> Path:
        """What was read, in numbers (JSON)."""
        return self.root / "data.json"

    @property
    def contamination(self) -> Path:
        """What targets and datasets have in common (JSON)."""
        return self.root / "contamination.json"

    @property
    def validation(self) -> Path:
        """What was trained on advice, in order (JSON)."""
        return self.root / "validation.json"

    @property
    def embeddings(self) -> Path:
        """Mean embeddings of the similarity baseline (JSON)."""
        return self.root / "embeddings.json"

    @property
    def results(self) -> Path:
        """The outcome (JSON)."""
        return self.root / "results.json"

    @property
    def report(self) -> Path:
        """The outcome as a page (HTML)."""
        return self.root / "report.html"

    @property
    def figures(self) -> Path:
        """Folder of the figures and the points they are drawn from."""
        return self.root / "figures"

    @property
    def mix(self) -> Path:
        """Folder of what `m2m mix` finds."""
        return self.root / "mix"

    @property
    def logs(self) -> Path:
        """Folder of what logs were told of the run, and of their own files."""
        return self.root / "logs"

    def model(self, mixture: Mixture, seed: int) -> Path:
        """Say where the checkpoint of a trained mixture lies; a mixture of one dataset is an expert."""
        room = "experts" if mixture.is_subset and len(mixture.members) == 1 else "mixtures"
        return self.root / room / mixture.folder_name / f"seed{seed}"

    def has_expert(self, dataset: str, seed: int) -> bool:
        """Say whether the run has a dataset's expert already, of its own or taken from elsewhere."""
        return any(self.root.glob(f"experts/{dataset}/seed{seed}"))

    def read_results(self, *needed: str) -> dict[str, Any]:
        """Read `results.json`, which must have the keys `needed`; empty before the run has finished."""
        if not self.results.exists():
            return {}
        shape = {name if name in needed else f"{name}?": inner for name, inner in _RESULTS.items()}
        try:
            content: dict[str, Any] = read_json(self.results, "a run's results", RunFolderError, shape)
        except RunFolderError as error:
            raise RunFolderError(f"{error}; {_WRITE_ANEW}") from error
        return content

    def read_data(self) -> Inventory | None:
        """Read the table of what was read; None where an earlier m2m kept none."""
        if not self.data.exists():
            return None
        return Inventory.from_json(read_json(self.data, "what a run read", RunFolderError, INVENTORY))

    def read_contamination(self) -> tuple[str, Contamination] | None:
        """Read what targets and datasets have in common, after the key of what it was found in; if noted."""
        if not self.contamination.exists():
            return None
        shape = CONTAMINATION | {"made_from": str}
        content = read_json(self.contamination, "what a run found in common", RunFolderError, shape)
        return content["made_from"], Contamination.from_json({name: content[name] for name in CONTAMINATION})

    def read_seconds(self) -> dict[str, float]:
        """Read what each step has taken so far: of `results.json` only that, whichever m2m wrote the rest."""
        if not self.results.exists():
            return {}
        shape = {"seconds?": {str: float}}
        content: dict[str, Any] = read_json(self.results, "a run's results", RunFolderError, shape)
        seconds: dict[str, float] = content.get("seconds", {})
        return seconds

    @property
    def contents(self) -> Mapping[str, str]:
        """Content hashes of the set-up's parts that the run is made from; empty if it noted none."""
        contents: dict[str, str] = self.read_identity().get("contents", {})
        return contents

    @property
    def grew(self) -> list[dict[str, Any]]:
        """Each dataset that the run was given later, the set-up's version before, and the pick then."""
        grew: list[dict[str, Any]] = self.read_identity().get("grew", []) if self.identity.exists() else []
        return grew

    @property
    def origins_noted(self) -> bool:
        """Whether every model in the folder was made by an m2m that notes what from."""
        return bool(self.read_identity().get("origins_noted", False))

    def check_contents(self, contents: Mapping[str, str]) -> None:
        """Refuse a set-up whose parts are not those that the run was made from, if it noted that."""
        if changed := what_changed(self.contents or contents, contents):
            raise RunFolderError(OF_OTHER_DATA.format(self.root, changed))

    def read_identity(self) -> dict[str, Any]:
        """Read `run.json`."""
        content: dict[str, Any] = read_json(
            self.identity, "what a run writes there", RunFolderError, _IDENTITY
        )
        return content

    def write_results(self, content: dict[str, Any]) -> None:
        """Replace `results.json` in one step."""
        write_atomically(
            self.results, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        )


def to_train_on(results: Mapping[str, Any]) -> list[str]:
    """Return the datasets of the mixture to take: the pick after trainings where there is one."""
    members: list[str] = results.get("picked_after_trainings") or results["picked"]
    return members


@dataclass(frozen=True)
class Growth:
    """What a run was before it got a dataset more (`m2m.pipeline.growth`).

    Attributes:
        dataset: The dataset's name.
        before: Content hashes of the set-up without it, which the folder must have noted.
        picked: The datasets of the mixture that the run had for its answer; None if it had not finished.
    """

    dataset: str
    before: Mapping[str, str]
    picked: list[str] | None


def dataset_added(folder: RunFolder, config: RunConfig) -> str | None:
    """Name the dataset that a configuration has beyond that of a folder; None if they differ otherwise."""
    if not folder.identity.is_file():
        return None
    identity = folder.read_identity()["identity"]
    if identity == config.identity or not folder.contents:
        return None
    names = config.dataset_names
    return next((name for name in names if config.without_dataset(name).identity == identity), None)


def what_changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Name the parts of a set-up that are not what they were: `dataset 'math' has changed`, or nothing."""
    parts = [part for part in dict.fromkeys([*before, *now]) if before.get(part) != now.get(part)]
    data = [part.partition(" ") for part in parts if part != "version"]
    if parts and not data:  # the version covers the data too: alone it says that something else has changed
        return "its base model or its metrics have changed"
    return ", ".join(f"{kind} {name!r} has changed" for kind, _, name in data)
