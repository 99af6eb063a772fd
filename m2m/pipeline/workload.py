"""What a run would do, counted before it does any of it: trainings, and models that are scored."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from m2m.mixture import Mixture, all_subsets
from m2m.pipeline.config import RunConfig
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.search_budget import search_budget
from m2m.scoring import Targets
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks.targets import MOST_EXAMPLES
from m2m.searching import Subsets
from m2m.setups.protocol import Setup
from m2m.setups.rows.inventory import inventory_of
from m2m.training.shares import sampled_mixture

#: Choices of a run by their names in its results; the first two hang on what it finds.
_FOUND, _KNOWN = ("picked", "similarity"), ("all", "random")


@dataclass(frozen=True)
class Trainings:
    """Trainings of one kind that are still to do.

    Attributes:
        kind: What is trained.
        least: How many there are in any case.
        most: How many there are at most: which mixtures are chosen is not known yet.
        steps: Optimizer steps of all `most` together, at most.
        longest: Optimizer steps of the longest.
        examples: Examples that all these steps draw.
        tokens: Tokens of these examples, on average; None where the set-up does not tell.
    """

    kind: str
    least: int
    most: int
    steps: int
    longest: int
    examples: int
    tokens: int | None


@dataclass(frozen=True)
class Scoring:
    """Models of one kind that are still to be scored.

    Attributes:
        kind: What is scored.
        models: How many models, at most.
        examples: Examples that each of them is scored on.
    """

    kind: str
    models: int
    examples: int

    @property
    def forwards(self) -> int:
        """Examples that go through a model."""
        return self.models * self.examples


@dataclass(frozen=True)
class Workload:
    """All that a run would still do.

    Attributes:
        trainings: Its trainings, in their order.
        merged: Its candidates.
        trained: Trained models and the base model, on validation examples.
        tested: Chosen models and the base model, on test examples.
        embedded: Examples of all data that the similarity baseline embeds, once.
        searches: Whether candidates are asked for by a search, in one process.
        there: Trained models that the run folder has.
        given: Experts that exist already, and are taken.
    """

    trainings: tuple[Trainings, ...]
    merged: Scoring
    trained: Scoring
    tested: Scoring
    embedded: Scoring
    searches: bool
    there: int
    given: int

    @property
    def most_trainings(self) -> int:
        """Models that are trained, at most."""
        return sum(stage.most for stage in self.trainings)


def workload(config: RunConfig, targets: Targets, folder: RunFolder | None = None) -> Workload:
    """Count what a run of a configuration would do, without what its folder already holds.

    Args:
        config: The run configuration.
        targets: Its set-up and targets; examples of a function that judges are not known, and not counted.
        folder: The run folder, which is only read; None, or one that is not there: a new run.

    Returns:
        The counts; where they hang on what is found on the way they are at most that.
    """
    there = folder if folder is not None and folder.identity.exists() else None
    return _Counting(config, targets, there).workload()


def wall(total: float, longest: float, jobs: int, workers: int) -> float:
    """Say how long jobs of about the same length take side by side: whole rounds of `workers`."""
    return max(total * ceil(jobs / workers) / jobs, longest) if jobs else 0.0


@dataclass(frozen=True)
class _Counting:
    config: RunConfig
    targets: Targets
    folder: RunFolder | None

    @property
    def setup(self) -> Setup:
        return self.targets.setup

    def workload(self) -> Workload:
        run, targets, own = self.config.run, self.targets, self.setup.targets
        experts = self._new([(m, run.seed) for m in self._subsets if len(m.members) == 1])
        stages = [] if self.config.experts else [self._trainings("experts", experts)]
        stages += [self._every()] if run.trains_all else self._some()
        given = len(experts) if self.config.experts else 0
        base = 1 - self._scored("base", "validation")
        judged = dict.fromkeys((*run.weights, *(run.fidelity or targets.names)))
        validation = sum(targets.count(name, "validation") for name in judged)
        tested = len(self._chosen) + self._unknown + run.trains_all - self._scored("trained", "test")
        parts = [*self.setup.datasets.values(), *(own[n].validation for n in judged if n in own)]
        return Workload(
            trainings=tuple(stages),
            merged=Scoring("merged candidates", self._candidates, validation),
            trained=Scoring(
                "models on validation", sum(s.most for s in stages) + given + base, validation
            ),
            tested=Scoring(
                "models on test", max(0, tested) + base, sum(targets.count(n, "test") for n in run.weights)
            ),
            embedded=Scoring(
                "data for similarity",
                int(run.has_baselines and not (self.folder and self.folder.embeddings.exists())),
                sum(min(len(part), MOST_EXAMPLES) for part in parts),
            ),
            searches=self._budget is not None,
            there=self._models("experts") + self._models("mixtures"),
            given=given,
        )  # fmt: skip

    @property
    def _names(self) -> list[str]:
        return list(self.setup.datasets)

    @cached_property
    def _budget(self) -> int | None:
        return search_budget(self.config, len(self._names))

    @cached_property
    def _subsets(self) -> list[Mixture]:
        """All that are scored; of a search, the datasets alone."""
        if self._budget is None:
            return all_subsets(self._names)
        return [Mixture.subset(self._names, [name]) for name in self._names]

    @property
    def _candidates(self) -> int:
        # A search need not have asked for the baselines.
        beside = 3 if self.config.run.has_baselines else 0
        wanted = len(self._subsets) if self._budget is None else self._budget + beside
        return max(0, wanted - self._scored("merged", "validation"))

    @cached_property
    def _chosen(self) -> list[Mixture]:
        """The chosen mixtures that are known by now: of two or more datasets, each once."""
        names = self._names
        known = {name: Mixture.subset(names, members) for name, members in self._results.items()}
        if self.config.run.has_baselines:
            known |= {
                "all": Mixture.subset(names, names),
                "random": Subsets(names).sample(random.Random(self.config.run.seed)),
            }
        return [m for m in {m.key: m for m in known.values()}.values() if len(m.members) > 1]

    @property
    def _unknown(self) -> int:
        """How many more may be chosen."""
        hang_on = [name for name in self._wanted if name not in self._results]
        return min(len(hang_on), self._of_several - len(self._chosen))

    @property
    def _wanted(self) -> tuple[str, ...]:
        # What a task judges has no similarity.
        similar = self.config.run.weights.keys() <= self.setup.targets.keys()
        return _FOUND if self.config.run.has_baselines and similar else _FOUND[:1]

    @cached_property
    def _results(self) -> dict[str, list[str]]:
        """What a finished run of the same datasets has found."""
        found = {} if self.folder is None else self.folder.read_results()
        alike = found.get("datasets") == self._names
        return {name: found[name] for name in self._wanted if alike and name in found}

    @property
    def _of_several(self) -> int:
        """How many mixtures have two or more datasets."""
        return int(2 ** len(self._names) - 1 - len(self._names))

    def _every(self) -> Trainings:
        first, seeds = self.config.run.seed, self.config.run.truth_seeds
        wanted = [
            (mixture, seed)
            for seed in range(first, first + seeds)
            for mixture in self._subsets
            if len(mixture.members) > 1 or (seed > first and not self.config.experts)
        ]
        return self._trainings("every mixture", self._new(wanted))

    def _some(self) -> list[Trainings]:
        """What is chosen, and what is trained to judge the pick."""
        run, unknown = self.config.run, self._unknown
        known = self._new([(mixture, run.seed) for mixture in self._chosen])
        # Others that are there may be those chosen, or have judged an earlier pick.
        others = self._models("mixtures") - (len(self._chosen) - len(known))
        stages = [
            self._trainings(
                "the pick" + " and baselines" * run.has_baselines, known, max(0, unknown - others)
            )
        ]
        if run.trains_some:
            left = self._of_several - len(self._chosen)
            wanted = left if run.most_trainings is None else min(run.most_trainings, left)
            sure = 0 if run.stop is not None else min(wanted, left - unknown)
            paid = max(0, others - unknown)
            stages.append(
                self._trainings("to judge the pick", [], max(0, wanted - paid), max(0, sure - paid))
            )
        return stages

    def _trainings(
        self, kind: str, known: Sequence[tuple[Mixture, int]], unknown: int = 0, sure: int = 0
    ) -> Trainings:
        """Count trainings of known mixtures, and of some that are not known; `sure` of these are made."""
        recipe, everything = self.config.train, Mixture.subset(self._names, self._names)
        mixtures = [mixture for mixture, _ in known] + [everything] * unknown
        steps = [recipe.total_steps(mixture) for mixture in mixtures]
        lengths = [self._length(mixture) for mixture in mixtures]
        tokens = sum(
            count * recipe.batch * length
            for count, length in zip(steps, lengths, strict=True)
            if length is not None
        )
        return Trainings(
            kind=kind,
            least=len(known) + sure,
            most=len(mixtures),
            steps=sum(steps),
            longest=max(steps, default=0),
            examples=sum(steps) * recipe.batch,
            tokens=None if None in lengths else round(tokens),
        )

    def _length(self, mixture: Mixture) -> float | None:
        """Return the mean tokens of the examples that a mixture draws."""
        inventory = inventory_of(self.setup)
        drawn = sampled_mixture(mixture, inventory.sizes, self.config.train, inventory.lengths).shares
        if inventory.lengths is None:
            return None
        return sum(drawn[name] * inventory.lengths[name] for name in mixture.members)

    def _new(self, models: Sequence[tuple[Mixture, int]]) -> list[tuple[Mixture, int]]:
        folder = self.folder
        return [one for one in models if folder is None or not folder.model(*one).exists()]

    def _models(self, room: str) -> int:
        """Count trained models of the first seed in a room of the folder."""
        place = f"{room}/*/seed{self.config.run.seed}"
        return 0 if self.folder is None else sum(1 for _ in self.folder.root.glob(place))

    def _scored(self, origin: str, split: str) -> int:
        """Count models that the folder has scores of."""
        if self.folder is None or not self.folder.table.exists():
            return 0
        earlier = (self.targets.versions_since(before["version"]) for before in self.folder.grew)
        versions = self.targets.versions.union(*earlier)
        with ScoreTable(self.folder.table, read_only=True) as table:
            rows: Iterator[object] = (
                candidate
                for version in versions
                for candidate in table.distinct("candidate", origin=origin, split=split, version=version)
            )
            return len(set(rows))
