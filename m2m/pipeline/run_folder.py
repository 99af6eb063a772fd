"""One run folder: where everything lies, who may write there, and whether it is this configuration's."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from m2m.errors import M2MError, RunFolderError
from m2m.mixture import Mixture
from m2m.scoring.table import ScoreTable
from m2m.setups.rows.contamination import SHAPE as CONTAMINATION
from m2m.setups.rows.contamination import Contamination
from m2m.setups.rows.inventory import SHAPE as INVENTORY
from m2m.setups.rows.inventory import Inventory
from m2m.support.arguments import argument
from m2m.support.doors import read_json
from m2m.support.files import naming, write_atomically
from m2m.support.outputs import RUN_MARK, Output, check_outputs
from m2m.support.schema import PERHAPS, flat

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

#: Keys that a message about another configuration tells.
_TOLD = 3
_OF_OTHER_DATA = (
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
            raise RunFolderError(_OF_OTHER_DATA.format(self.root, changed))

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


def check(root: Path, config: RunConfig, *, growing: bool = False) -> None:
    """Refuse a folder that a run of this configuration may not use; nothing is touched.

    Args:
        root: The folder.
        config: The configuration.
        growing: Whether the folder may also be of this configuration with a dataset less.

    Raises:
        RunFolderError: If it may not.
    """
    said, folder = argument("out", root), RunFolder(root)
    files = (
        folder.config, folder.identity, folder.csv, folder.data, folder.contamination, folder.validation,
        folder.results, folder.report, folder.embeddings,
    )  # fmt: skip
    check_outputs(
        [
            Output(said, root, "folder"),
            *(Output(said, path, "folder", own=True) for path in (folder.figures, folder.mix)),
            *(Output(said, path, own=True) for path in files if path.exists()),
            *(Output(said, path, "table", own=True) for path in [folder.table] if path.exists()),
        ]
    )
    for path in files:
        if data := config.gathers(path):
            raise RunFolderError(
                f"{said} lies in data that {config.path} reads, {data}: what the run writes would be taken "
                "for data; choose a place outside"
            )
    if not root.exists() or all(entry.name.startswith(".") for entry in root.iterdir()):
        return  # new, empty, or claimed by a run that was killed before its first file
    identity = RunFolder(root).identity
    if not identity.exists():
        raise RunFolderError(
            f"{said} is not empty and not a run folder (no {identity.name}); it is left as it is"
        )
    if growing and dataset_added(folder, config) is not None:
        return
    if folder.read_identity()["identity"] != config.identity:
        raise RunFolderError(
            f"{said} holds a run of another configuration ({_what_differs(folder.config, config)}); "
            f"give {config.path.name} a folder of its own; this one is left as it is"
        )


def _what_differs(before: Path, config: RunConfig) -> str:
    """Name the first keys that decide results and are not as they were."""
    from m2m.pipeline.config import load

    see = f"see {before}"
    try:
        was, now = (dict(flat(one.deciding)) for one in (load(before), config))
    except M2MError:  # another version wrote it
        return see
    keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    told = [f"{key} is {now.get(key)!r:.40}, was {was.get(key)!r:.40}" for key in keys[:_TOLD]]
    more = [f"{len(keys) - _TOLD} keys more"] if len(keys) > _TOLD else []
    return "; ".join([*told, *more, see])


@contextmanager
def claim(
    root: Path, config: RunConfig, contents: Mapping[str, str], grown: Growth | None = None
) -> Iterator[RunFolder]:
    """Open a run folder for writing, made if need be, for one process at a time; say if it has `grown`."""
    check(root, config, growing=grown is not None)
    # A link may lead to a folder that is not there yet.
    Path(os.path.realpath(root)).mkdir(parents=True, exist_ok=True)
    folder = RunFolder(root)
    with open(root / ".lock", "w", encoding="utf-8") as lock:
        try:
            with naming(root):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(f"{argument('out', root)} is in use by another process") from None
        known = folder.identity.exists()
        if known and not folder.contents:
            folder = _of_an_earlier_m2m(folder, contents["version"])
        elif known:
            folder.check_contents(contents if grown is None else grown.before)
        grew = folder.grew
        if grown is not None:
            version = grown.before["version"]
            grew = [*grew, {"dataset": grown.dataset, "version": version, "picked": grown.picked}]
        noted = folder.origins_noted if known else True
        write_atomically(folder.config, config.path.read_text(encoding="utf-8"))
        source: dict[str, Any] = {"identity": config.identity, "root": str(config.root)}
        source |= {"contents": dict(contents), "origins_noted": noted}
        source |= {"grew": grew} if grew else {}
        write_atomically(folder.identity, json.dumps(source, ensure_ascii=False) + "\n")
        folder.figures.mkdir(exist_ok=True)
        yield folder


def _of_an_earlier_m2m(folder: RunFolder, version: str) -> RunFolder:
    # It noted no contents, but its scores have the version of the set-up they were made with.
    for path in filter(Path.exists, (folder.table, folder.mix / folder.table.name)):
        with ScoreTable(path) as table:
            versions = table.versions()
        if versions and version not in versions:
            raise RunFolderError(
                _OF_OTHER_DATA.format(folder.root, "its data or its base model have changed")
            )
    note = (
        "is of an earlier m2m, which did not note what its models were trained on; the run goes on with them"
    )
    return replace(folder, notes=(f"{folder.root} {note}",))


def what_changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Name the parts of a set-up that are not what they were: `dataset 'math' has changed`, or nothing."""
    parts = [part for part in dict.fromkeys([*before, *now]) if before.get(part) != now.get(part)]
    data = [part.partition(" ") for part in parts if part != "version"]
    if parts and not data:  # the version covers the data too: alone it says that something else has changed
        return "its base model or its metrics have changed"
    return ", ".join(f"{kind} {name!r} has changed" for kind, _, name in data)
