"""Regression of trained on merged scores over several targets: one common slope, and mixed effects.

*Repeated measures*: one line a target, all with the same slope (analysis of covariance; Bland and Altman
1995, BMJ 310:446; Bakdash and Marusich 2017, Frontiers in Psychology 8:456).

*Mixed effects*, over targets and training seeds (statsmodels' MixedLM, REML). In standard deviations within
each target, trained score of mixture i on target k with seed s:

    y_iks = level_ks + (β + b_k) x_ik + m_ik + e_iks,   b ~ N(0, σ_b²), m ~ N(0, σ_m²), e ~ N(0, σ_e²).

β says what the surrogate is worth on a target not seen yet, σ_b how much that differs between targets,
σ_m how far mixtures lie off the line whatever the seed (the surrogate's own error), σ_e what a new seed
changes. The errors m of one mixture on different targets are taken as independent; leaving out
datasets does not need that.

Two seeds that agree (full-batch training, say) leave σ_e at zero, where the likelihood has no maximum: they
are averaged first and fitted as one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from analysis.fidelity.coefficients import strata
from analysis.fidelity.correlation import FEWEST, correlation
from analysis.fidelity.intervals import MANY, MIXTURES, Interval, IntervalEstimate
from analysis.fidelity.scores import Points, Sample
from m2m.support.arrays import Floats, Ints

#: Seeds of a target that differ by less than this, in standard deviations and beside a constant, are one.
_SAME = 1e-6
#: A variance below this share of the whole is said to be zero: the fit is on the edge of what is allowed.
_EDGE = 1e-4
#: Needs no gradient: on standard deviations the likelihood is flat at zero, where BFGS stops too early.
_OPTIMIZER = ["powell"]
_DEPENDENT = "mixtures share datasets; this interval and these tests are for rows that are independent"
#: What of the slope's estimate is written.
_SLOPE = ("value", "low", "high", "about", "method", "n", "reason")
#: How statsmodels' warnings begin that a variance of zero brings along.
_ABOUT_THE_EDGE = (
    "The MLE may be on the boundary",
    "The random effects covariance matrix is singular",
    "The Hessian matrix at the estimated parameter values is not positive definite",
)


@dataclass(frozen=True)
class RepeatedMeasures:
    """Analysis of covariance: trained score = its target's level + slope · merged score + error.

    Attributes:
        r: Its correlation, sign(slope) · √(sum of squares of the slope / (that + of the error)).
        slope: The t interval of the common slope, trained score per merged score. It, `p` and
            `unequal_slopes_p` are None where mixtures share datasets: they are for independent rows.
        slope_value: The common slope.
        f: F statistic of "the slope is zero", on 1 and `df` degrees of freedom; infinite if the fit is exact.
        df: Degrees of freedom of the error, n − k − 1 for n rows of k targets.
        p: Its p-value, as if rows were independent within a target.
        unequal_slopes_p: p-value of "all targets have this slope", on k − 1 and n − 2k degrees of freedom;
            None if a target is too small for its own slope. Small: read the targets one by one.
        reason: Why there is nothing; empty otherwise.
    """

    r: IntervalEstimate
    slope: Interval | None
    slope_value: float | None
    f: float | None
    df: int
    p: float | None
    unequal_slopes_p: float | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Lay the result out for JSON, the slope as `value`, `low`, `high`."""
        slope = {"value": self.slope_value, "low": None, "high": None}
        if self.slope is not None:
            slope |= {"low": self.slope.low, "high": self.slope.high}
        return {
            "r": self.r.value,
            "low": self.r.low,
            "high": self.r.high,
            "n": self.r.n,
            "df": self.df,
            "f": self.f if self.f is not None and math.isfinite(self.f) else None,
            "p": self.p,
            "slope": slope,
            "unequal_slopes_p": self.unequal_slopes_p,
            "reason": self.reason,
        }


def repeated_measures(sample: Sample, seed: int) -> RepeatedMeasures:
    """Fit the common slope.

    Args:
        sample: Paired scores of several targets.
        seed: Seed of the correlation's permutations.

    Returns:
        The fit; without numbers, with the reason, where it is not defined.
    """
    return from_correlation(sample, correlation("pearson", sample, seed))


def from_correlation(sample: Sample, r: IntervalEstimate) -> RepeatedMeasures:
    """Fit the common slope to a sample whose pooled Pearson correlation r is known."""
    df = sample.n - sample.strata - 1
    if r.value is None:
        return RepeatedMeasures(r, None, None, None, df, None, None, r.reason)
    sums = np.array([_sums(sample.merged[rows], sample.trained[rows]) for rows in strata(sample)])
    xx, xy, yy = sums.sum(axis=0)
    slope = float(xy / xx)
    error = max(0.0, (1 - r.value**2) * yy)
    reach = float(stats.t.ppf(0.975, df)) * math.sqrt(error / df / xx)
    f = df * r.value**2 / (1 - r.value**2) if abs(r.value) < 1 else math.inf
    if sample.shares_datasets:
        return RepeatedMeasures(r, None, slope, f, df, None, None, _DEPENDENT)
    return RepeatedMeasures(
        r=r,
        slope=Interval(slope - reach, slope + reach, "analysis of covariance", about=MIXTURES),
        slope_value=slope,
        f=f,
        df=df,
        p=float(stats.f.sf(f, 1, df)),
        unequal_slopes_p=_unequal_slopes(sums, error, sample.n),
    )


def _sums(merged: np.ndarray, trained: np.ndarray) -> tuple[float, float, float]:
    """Return Σuu, Σuv and Σvv of one target's centred scores."""
    u, v = merged - merged.mean(), trained - trained.mean()
    return float(u @ u), float(u @ v), float(v @ v)


def _unequal_slopes(sums: np.ndarray, error: float, n: int) -> float | None:
    xx, xy, yy = sums.T
    targets, df = len(sums), n - 2 * len(sums)
    if targets < 2 or df < 1 or np.min(xx) == 0:
        return None
    own = float(np.sum(yy - xy * (xy / xx)))
    if own <= np.finfo(float).eps * float(np.sum(yy)):
        return None
    return float(stats.f.sf((error - own) / (targets - 1) / (own / df), targets - 1, df))


@dataclass(frozen=True)
class MixedEffects:
    """The fitted regression; scores are in standard deviations of their target.

    Attributes:
        slope: β with its 95 % t interval, on targets − 1 degrees of freedom (one target: mixtures − 2).
        slope_sd: σ_b; None with one target.
        off_line_sd: σ_m; None without a second seed, where it is part of `residual_sd`.
        residual_sd: σ_e (with one seed: of both errors together).
        targets: Names of the targets that are in it.
        seeds: Most training seeds of a target, 1 or 2; seeds that agree count as one.
        notes: What is to be read with care: variances on the edge, a fit that did not converge, targets left
            out, seeds that agree.
    """

    slope: IntervalEstimate
    slope_sd: float | None
    off_line_sd: float | None
    residual_sd: float | None
    targets: tuple[str, ...]
    seeds: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Lay the attributes out for JSON; the slope without p-value and other intervals."""
        slope = asdict(self.slope)
        return asdict(self) | {
            "slope": {
                name: slope[name] for name in ("value", "low", "high", "about", "method", "n", "reason")
            },
            "targets": list(self.targets),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class _Rows:
    """Rows of the regression: y and x, and the numbers of target, level and mixture. each [n]."""

    y: Floats
    x: Floats
    target: Ints
    level: Ints
    mixture: Ints

    @property
    def dummies(self) -> Floats:
        """One column a level: target and seed."""
        return np.eye(int(self.level.max()) + 1)[self.level]


def mixed_effects(points: Sequence[Points]) -> MixedEffects:
    """Fit the regression.

    Args:
        points: The targets.

    Returns:
        The fit; its slope has no value but a reason where nothing can be fitted.
    """
    defects = [_defect(target) for target in points]
    found = [target for target, defect in zip(points, defects, strict=True) if defect is None]
    used = [_averaged(target) if _seeds_agree(target) else target for target in found]
    notes = (
        *(
            f"target {target.target!r} is left out: {defect}"
            for target, defect in zip(points, defects, strict=True)
            if defect is not None
        ),
        *(
            f"target {target.target!r}: its seeds agree to {_SAME:g} standard deviations; they are averaged "
            f"and count as one"
            for target in found
            if _seeds_agree(target)
        ),
    )
    seeds = 2 if any(_second(target).any() for target in used) else 1
    names = tuple(target.target for target in used)
    if not used or (len(used) == 1 and seeds == 1):
        reason = (
            "one target and one seed: nothing varies beside the mixtures" if used else "no target is usable"
        )
        return MixedEffects(IntervalEstimate.missing(0, reason), None, None, None, names, seeds, notes)
    rows = _rows(used)
    if _is_exact(rows):
        reason = "the line fits exactly: there is no error to divide"
        return MixedEffects(
            IntervalEstimate.missing(len(rows.y), reason), None, None, None, names, seeds, notes
        )
    return _fit(rows, names, seeds, notes)


def _defect(points: Points) -> str | None:
    """Return why a target is left out; None if it is not. A row a mixture and a column a mixture must fit."""
    if points.n > MANY:
        return f"it has more than {MANY} mixtures"
    return points.sample().defect(FEWEST)


def _second(points: Points) -> np.ndarray:
    """Return which mixtures have a second seed; none if too few for a level of their own. [n]."""
    known = np.isfinite(points.again)
    return known if np.sum(known) >= FEWEST else np.zeros_like(known)


def _between_seeds(points: Points) -> Floats:
    """Return what the second seed adds to the first, less its mean; zero where there is none. [n]."""
    there = _second(points)
    added = np.zeros(points.n)
    added[there] = points.again[there] - points.trained[there]
    added[there] -= added[there].mean() if there.any() else 0.0
    return added


def _seeds_agree(points: Points) -> bool:
    apart = np.abs(_between_seeds(points)).max()
    return bool(_second(points).any() and apart < _SAME * points.trained.std())


def _averaged(points: Points) -> Points:
    """Return the target with both seeds as one."""
    mean = points.trained + _between_seeds(points) / 2
    return replace(points, trained=mean, again=np.full(points.n, np.nan))


def _rows(points: Sequence[Points]) -> _Rows:
    parts: list[Floats] = []
    level = first_mixture = 0
    for number, target in enumerate(points):
        x = (target.merged - target.merged.mean()) / target.merged.std()
        scale = target.trained.std()
        for scores, there in ((target.trained, np.ones(target.n, bool)), (target.again, _second(target))):
            if there.any():
                y = (scores[there] - scores[there].mean()) / scale
                mixture = first_mixture + np.flatnonzero(there)
                same = np.ones_like(y)
                parts.append(np.stack([y, x[there], number * same, level * same, mixture]))
                level += 1
        first_mixture += target.n
    y, x, group, levels, mixtures = np.concatenate(parts, axis=1)
    order = np.argsort(group, kind="stable")
    return _Rows(y[order], x[order], *(v[order].astype(np.int64) for v in (group, levels, mixtures)))


def _is_exact(rows: _Rows) -> bool:
    """Return whether one line a target leaves nothing but rounding."""
    design = np.column_stack(
        [rows.dummies, np.eye(int(rows.target.max()) + 1)[rows.target] * rows.x[:, None]]
    )
    left = rows.y - design @ np.linalg.lstsq(design, rows.y, rcond=None)[0]
    return bool(left @ left <= len(left) * np.finfo(float).eps * (rows.y @ rows.y))


def _fit(rows: _Rows, names: tuple[str, ...], seeds: int, notes: tuple[str, ...]) -> MixedEffects:
    several = len(names) > 1
    df = len(names) - 1 if several else len(np.unique(rows.mixture)) - 2
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            result = _model(rows, several, seeds > 1).fit(reml=True, method=_OPTIMIZER)
        except (np.linalg.LinAlgError, ValueError) as failure:
            missing = IntervalEstimate.missing(len(rows.y), f"the regression cannot be fitted: {failure}")
            return MixedEffects(missing, None, None, None, names, seeds, notes)
    variances = {"slopes between targets": float(result.cov_re[0, 0])} if several else {}
    if seeds > 1:
        variances["mixtures off the line"] = float(result.vcomp[0])
    value, residual = float(result.fe_params[-1]), float(result.scale)
    if not np.isfinite([value, residual, *variances.values()]).all():
        missing = IntervalEstimate.missing(
            len(rows.y), "the regression cannot be fitted: it has no finite solution"
        )
        return MixedEffects(missing, None, None, None, names, seeds, notes)
    whole = sum(variances.values()) + residual
    edge = [name for name, variance in variances.items() if variance <= _EDGE * whole]
    error, reason = _standard_error(result, [name not in edge for name in variances])
    reach = None if error is None else float(stats.t.ppf(0.975, df)) * error
    return MixedEffects(
        slope=IntervalEstimate(
            value,
            None if reach is None else value - reach,
            None if reach is None else value + reach,
            len(rows.y),
            f"mixed effects: REML, t on {df} degrees of freedom",
            reason,
            about="a new target" if several else MIXTURES,
        ),
        slope_sd=_root(variances.get("slopes between targets")),
        off_line_sd=_root(variances.get("mixtures off the line")),
        residual_sd=_root(residual),
        targets=names,
        seeds=seeds,
        notes=(
            *notes,
            *(f"the variance of {name} is estimated as zero" for name in edge),
            *([] if result.converged else ["the fit did not converge"]),
            *_texts(heard, on_edge=bool(edge)),
        ),
    )


def _standard_error(result: Any, inside: Sequence[bool]) -> tuple[float | None, str]:
    """Return the slope's standard error, or None and why; `inside`: which variances are not on the edge."""
    if not result.converged:
        return None, "the fit did not converge"
    levels_and_slope = len(result.fe_params)
    information = -result.model.hessian(result.params_object)[0]
    kept = np.r_[np.ones(levels_and_slope, bool), np.asarray(inside, bool)]
    information = information[np.ix_(kept, kept)]
    diagonal = np.diag(information)
    if np.isfinite(information).all() and (diagonal > 0).all():
        unit = np.sqrt(diagonal)
        values, vectors = np.linalg.eigh(information / np.outer(unit, unit))
        if values[0] > len(values) * np.finfo(float).eps * values[-1]:
            slope = levels_and_slope - 1
            variance = (vectors[slope] ** 2 / values).sum() / diagonal[slope]
            return math.sqrt(variance), ""
    return None, "the information matrix is not positive definite"


def _model(rows: _Rows, several: bool, repeated: bool) -> Any:
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec  # a second to import

    groups = np.unique(rows.target)
    spec = None
    if repeated:
        members = [np.unique(rows.mixture[rows.target == g]) for g in groups]
        mats = [
            (rows.mixture[rows.target == g][:, None] == mine).astype(float)
            for g, mine in zip(groups, members, strict=True)
        ]
        spec = VCSpec(["mixture"], [[[str(m) for m in mine] for mine in members]], [mats])
    return MixedLM(
        rows.y,
        np.column_stack([rows.dummies, rows.x]),
        groups=rows.target,
        exog_re=rows.x[:, None] if several else None,
        exog_vc=spec,
    )


def _texts(heard: Sequence[warnings.WarningMessage], on_edge: bool) -> list[str]:
    """Return statsmodels' warnings once each, less those that the notes say in our words."""
    said = ("Retrying", "Maximum Likelihood optimization failed", *(_ABOUT_THE_EDGE if on_edge else ()))
    texts = dict.fromkeys(" ".join(str(warning.message).split()) for warning in heard)
    return [text for text in texts if not text.startswith(said)]


def _root(variance: float | None) -> float | None:
    return None if variance is None else math.sqrt(max(0.0, variance))
