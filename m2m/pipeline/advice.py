"""What a run tells its adviser on trainings, and what it is told.

Which mixture to train next is the theory's question (`analysis.trust`), and m2m's rooms do not import it; so
the run asks an `Adviser`, which the verb brings (`m2m.verbs.theory`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from m2m.errors import ConfigError
from m2m.mixture import Mixture

_UNTIL = re.compile(r"P\(within([\d.]+)%\)>([\d.]+)")


@dataclass(frozen=True)
class Until:
    """When enough is trained.

    Attributes:
        tolerance: ε, a share of the range of trained scores.
        probability: What the probability that the pick is within ε of the best must be above.
    """

    tolerance: float
    probability: float

    @classmethod
    def parse(cls, text: str) -> Until:
        """Read `P(within 2 %) > 0.9`, blanks anywhere; raises ConfigError if it is anything else."""
        found = _UNTIL.fullmatch(re.sub(r"\s", "", text))
        try:
            if found is None:
                raise ValueError
            until = cls(float(found[1]) / 100, float(found[2]))
        except ValueError:
            raise ConfigError(
                f"`until` must be of the form 'P(within 2 %) > 0.9', got {text!r:.60}"
            ) from None
        if until.tolerance > 1 or until.probability >= 1:
            raise ConfigError(f"`until` wants at most 100 % and a probability below 1, got {text!r:.60}")
        return until


@dataclass(frozen=True)
class Training:
    """A mixture that is really trained to judge the pick.

    Attributes:
        mixture: The mixture, of two or more datasets.
        purpose: `random`: drawn from all of them, for what can be said about all. `top`: the best merged
            score left. `next`: the one that is expected to shrink the pick's regret most.
        free: Whether it was trained already when it was drawn: it counts in the sample and costs nothing.
    """

    mixture: Mixture
    purpose: str
    free: bool = False


@dataclass(frozen=True)
class Evidence:
    """One target's scores so far.

    Attributes:
        target: Its name.
        metric: What the scores are.
        higher_is_better: Their direction.
        merged: Score of each candidate's merged model.
        trained: Scores by label of what was really trained; others may be among them.
    """

    target: str
    metric: str
    higher_is_better: bool
    merged: Mapping[Mixture, float]
    trained: Mapping[str, float]


@dataclass(frozen=True)
class Known:
    """What a run knows when it asks.

    Attributes:
        evidence: The scores by target, the one that the mixture is chosen for first.
        given: Mixtures drawn by chance beforehand and trained in any case: the sample begins with them.
        trainings: What was trained on advice so far, in order.
        tolerance: ε of "within ε of the best", a share of the range of trained scores.
        seed: Seed of the sample and of all draws.
    """

    evidence: Sequence[Evidence]
    given: Sequence[Mixture]
    trainings: Sequence[Training]
    tolerance: float
    seed: int


@dataclass(frozen=True)
class Advice:
    """What to train next.

    Attributes:
        trainings: To be trained together, with those that are free; none if nothing is left.
        probability: That the best trained mixture is within ε of the best; None where it cannot be told yet.
        reason: Why nothing can be advised; empty if all is trained.
    """

    trainings: tuple[Training, ...]
    probability: float | None
    reason: str = ""


class Adviser(Protocol):
    """Says what to train next, and what the trainings say about the pick."""

    def next(self, known: Known, left: int | None) -> Advice:
        """Advise on the next trainings.

        Args:
            known: What is known; the same gets the same advice.
            left: How many trainings may still be paid; None: as many as there are.

        Returns:
            The advice.
        """

    def judge(self, known: Known) -> dict[str, Any]:
        """Return what the trainings say about the pick, `trust` in `results.json`; write the whole study."""
