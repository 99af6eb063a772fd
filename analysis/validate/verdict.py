"""Claims, what was measured about them, and the one rule that turns an interval into a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Side = Literal["above", "below"]
Outcome = Literal["holds", "fails", "unresolved"]

#: The rule, as it is written into every result.
RULE = (
    "A claim holds if the whole 95 % interval lies on the claimed side of its threshold, fails if the whole "
    "interval lies on the other side, and is unresolved otherwise, or where nothing was measured. Thresholds "
    "stand in the code, not in the data; where a paper gives no number, the threshold is ours and says so."
)


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper that a number can speak for or against.

    Attributes:
        name: Short name, the key of its evidence.
        source: Where it is from: `Merge to Mix`, `MergeMix`, `derived`, or `failure signature`.
        text: The claim.
        quantity: What is measured, with its unit.
        threshold: The number it is held against.
        side: On which side of it the claim lies.
        needs: What a run must have for it to be measured.
        kind: Kind of set-up that it is about; empty for any.
    """

    name: str
    source: str
    text: str
    quantity: str
    threshold: float
    side: Side
    needs: str
    kind: str = ""


@dataclass(frozen=True)
class Evidence:
    """A measured number with its interval.

    Attributes:
        value: The estimate; None if it could not be made.
        low: Lower end of the 95 % interval; None if there is none.
        high: Upper end.
        n: How many rows it is from.
        rows: What a row is.
        method: How the interval was made.
        reason: Why something is missing; empty otherwise.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    rows: str
    method: str
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """A claim, what a run says about it, and the outcome.

    Attributes:
        run: Name of the run; empty if none could be asked.
        claim: The claim.
        evidence: What was measured; None if nothing was.
        outcome: `holds`, `fails` or `unresolved`.
        reason: Why it is unresolved; empty otherwise.
    """

    run: str
    claim: Claim
    evidence: Evidence | None
    outcome: Outcome
    reason: str


def judge(run: str, claim: Claim, evidence: Evidence | None) -> Verdict:
    """Apply the rule.

    Args:
        run: Name of the run.
        claim: The claim.
        evidence: What the run says; None if it has nothing to say.

    Returns:
        The verdict.
    """
    if evidence is None:
        return Verdict(run, claim, None, "unresolved", f"needs {claim.needs}")
    if evidence.low is None or evidence.high is None:
        return Verdict(run, claim, evidence, "unresolved", evidence.reason or "no interval")
    sign = 1 if claim.side == "above" else -1
    ends = sorted((sign * (evidence.low - claim.threshold), sign * (evidence.high - claim.threshold)))
    if ends[0] > 0:
        return Verdict(run, claim, evidence, "holds", "")
    if ends[1] < 0:
        return Verdict(run, claim, evidence, "fails", "")
    reason = evidence.reason or "the interval holds the threshold"
    return Verdict(run, claim, evidence, "unresolved", reason)
