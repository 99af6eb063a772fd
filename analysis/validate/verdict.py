"""Claims, what was measured about them, and the one rule that turns an interval into a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scipy import special

from m2m.support.arguments import argument

Side = Literal["above", "below"]
Outcome = Literal["holds", "fails", "unresolved"]

#: The rule, as it is written into every result.
RULE = (
    "A claim holds if the whole 95 % interval lies on the claimed side of its threshold, fails if the whole "
    "interval lies on the other side, and is unresolved otherwise, or where nothing was measured. Thresholds "
    "stand in the code, not in the data; where a paper gives no number, the threshold is ours and says so."
)
#: What an interval may leave out (`Evidence.condition`).
ONE_TRAINING = "one training of each model: the interval is over test examples, not over training seeds"
ONE_SEED = "experts of one training seed: the interval is over what was made with them"
ONE_SEED_TESTS = (
    "experts of one training seed, on the same test examples: the interval is over other seeds of the truth"
)
ONE_SEED_COSINES = "experts of one training seed, whose noise makes cosines smaller than training does"


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
        switch: Argument of `analysis.validate_claims` that leaves out what it needs; empty if none does.
    """

    name: str
    source: str
    text: str
    quantity: str
    threshold: float
    side: Side
    needs: str
    kind: str = ""
    switch: str = ""


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
        condition: What the interval takes as given although another run would draw it anew; empty if nothing.
        freedom: Degrees of freedom of Student's t behind the interval; None for a normal one.
        draws: Redraws behind the interval, 0 if there were none; no chance below 1/(draws + 1) is seen.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    rows: str
    method: str
    reason: str = ""
    condition: str = ""
    freedom: float | None = None
    draws: int = 0

    def beyond(self, threshold: float) -> float | None:
        """Return the one-sided p-value of the side of the threshold that the interval mostly lies on.

        The interval's end on the threshold's side is a quantile of 0.975 away from the value; the threshold
        lies so many times as far away (Altman and Bland 2011, BMJ 343:d2304). So p < 0.025 exactly where the
        interval leaves the threshold out. A value outside its own interval gives way to the middle. None
        without an interval.
        """
        if self.value is None or self.low is None or self.high is None:
            return None
        center = self.value if self.low < self.value < self.high else (self.low + self.high) / 2
        near = self.low if center > threshold else self.high
        seen = 1 / (self.draws + 1) if self.draws else 0.0
        if center == near:
            return 0.5 if near == threshold else seen
        far = (center - threshold) / (center - near)
        if self.freedom is None:
            tail = special.ndtr(-far * special.ndtri(0.975))
        else:
            tail = special.stdtr(self.freedom, -far * special.stdtrit(self.freedom, 0.975))
        return min(0.5, max(seen, float(tail)))


@dataclass(frozen=True)
class Verdict:
    """A claim, what a run says about it, and the outcome.

    Attributes:
        run: Name of the run; empty if none could be asked.
        claim: The claim.
        evidence: What was measured; None if nothing was.
        outcome: `holds`, `fails` or `unresolved`.
        reason: Why it is unresolved; empty otherwise.
        p: One-sided p-value of the side that the value lies on; None without an interval.
        p_holm: The same after Holm's correction over all claims asked of the run.
        outcome_holm: The verdict that is left after the correction.
    """

    run: str
    claim: Claim
    evidence: Evidence | None
    outcome: Outcome
    reason: str
    p: float | None = None
    p_holm: float | None = None
    outcome_holm: Outcome = "unresolved"


def judge(run: str, claim: Claim, evidence: Evidence | None) -> Verdict:
    """Apply the rule.

    Args:
        run: Name of the run.
        claim: The claim.
        evidence: What the run says; None if it has nothing to say.

    Returns:
        The verdict, not yet corrected for the run's other claims.
    """
    if evidence is None:
        switch = f" (see {argument(claim.switch)})" if claim.switch else ""
        return Verdict(run, claim, None, "unresolved", f"needs {claim.needs}{switch}")
    if evidence.low is None or evidence.high is None:
        return Verdict(run, claim, evidence, "unresolved", evidence.reason or "no interval")
    sign = 1 if claim.side == "above" else -1
    ends = sorted((sign * (evidence.low - claim.threshold), sign * (evidence.high - claim.threshold)))
    p = evidence.beyond(claim.threshold)
    if ends[0] > 0:
        return Verdict(run, claim, evidence, "holds", "", p)
    if ends[1] < 0:
        return Verdict(run, claim, evidence, "fails", "", p)
    reason = evidence.reason or "the interval holds the threshold"
    return Verdict(run, claim, evidence, "unresolved", reason, p)
