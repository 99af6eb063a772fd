"""Weights on the simplex: models merged and trained at many ratios, and ratios chosen by merging.

A *line* between the first two datasets at nine ratios, as in MergeMix's study of two capabilities (arXiv
2601.17858, section 4.2), and twelve ratios of all datasets drawn evenly from the simplex, as many as its
Table 2 has full runs.

Then ratios are chosen by merging, really trained, and compared on the test split, example by example. The
score of a merged model is nearly a quadratic of its weights, so the regressor is Scheffé's quadratic (without
constant: weights sum to one). MergeMix fits boosted trees instead, which have little to split in forty rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.fidelity.correlation import correlation
from analysis.validate.evidence import of_estimate, paired
from analysis.validate.grid import paired_scores
from analysis.validate.resampling import LOG, jackknife
from analysis.validate.verdict import ONE_SEED, Evidence
from analysis.validate.workshop import Workshop
from m2m.mixture import Mixture
from m2m.pipeline.worker import Task, Train
from m2m.support.arrays import Floats
from m2m.training import TrainRecipe

#: Ratios on the line.
LINE = tuple(tenth / 10 for tenth in range(1, 10))
#: Ratios drawn from the simplex.
DRAWN = 12
#: Merged models that a search may score, as in MergeMix (arXiv 2601.17858, section 3.2).
SEEDS = 40
#: Ratios that the regressor then looks at.
FINE = 20_000
#: Steps of the coarse ratio between two groups of datasets.
COARSE = 20


@dataclass(frozen=True)
class Ratios:
    """Scores of merged and of trained models at the same weights, higher is better.

    Attributes:
        line: Mixtures of the first two datasets. [L]
        line_merged: Scores of merged models along the line. [T, L]
        line_trained: Scores of trained models along the line. [T, L]
        drawn: Mixtures of all datasets. [R]
        drawn_merged: Scores of their merged models. [T, R]
        drawn_trained: Scores of their trained models. [T, R]
    """

    line: tuple[Mixture, ...]
    line_merged: Floats
    line_trained: Floats
    drawn: tuple[Mixture, ...]
    drawn_merged: Floats
    drawn_trained: Floats


def train_ratios(shop: Workshop) -> Ratios:
    """Merge and train at all ratios; models that lie there already are only scored."""
    names = shop.singles[0].datasets
    line = tuple(Mixture(names, (share, 1 - share, *(0.0 for _ in names[2:]))) for share in LINE)
    rows = np.random.default_rng(shop.config.run.seed).dirichlet(np.ones(len(names)), DRAWN)
    drawn = mixtures_of(names, rows)
    return Ratios(line, *_both(shop, line, "line"), drawn, *_both(shop, drawn, "simplex"))


def _both(shop: Workshop, mixtures: tuple[Mixture, ...], where: str) -> tuple[Floats, Floats]:
    recipe, seed = shop.config.train, shop.config.run.seed
    merged = shop.merged(mixtures, shop.experts, f"merges on the {where}")
    jobs = [Train(m, seed, recipe, shop.models / "ratios" / m.key, shop.tasks) for m in mixtures]
    return merged, shop.trained(jobs, f"mixtures on the {where}")


def mixtures_of(names: tuple[str, ...], rows: Floats) -> tuple[Mixture, ...]:
    """Name the points of a simplex, a row of weights a mixture. [M, N] → [M]."""
    return tuple(Mixture(names, tuple(map(float, row))) for row in rows)


def of_ratios(ratios: Ratios, seed: int) -> dict[str, Evidence]:
    """Measure whether merging weights stand for data weights: evidence by claim."""
    drawn = paired_scores(ratios.drawn_merged, ratios.drawn_trained)
    return {
        "weights_work": of_estimate(correlation("spearman", drawn, seed)),
        "smoother": smoothness(ratios.line_merged, ratios.line_trained),
    }


def smoothness(merged: Floats, trained: Floats) -> Evidence:
    """Compare the roughness of two sets of curves, on all targets.

    Every point of the line is one pair of models, the same on all targets, so points are left out, each with
    the second differences that it is in, and never targets.

    Args:
        merged: Scores of merged models along the line. [T, L]
        trained: Scores of trained models along the line. [T, L]

    Returns:
        Roughness of merged over that of trained curves, geometric mean over targets.
    """
    rows, method = "points of the line, on every target", "jackknife over points"
    bends, truth = (np.diff(curve, 2, axis=1) ** 2 for curve in (merged, trained))
    points = merged.shape[1]
    places = np.arange(points - 2)  # of second differences: each is of the points place … place + 2

    def ratio(kept: NDArray[np.bool_]) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = np.log(bends[:, kept].mean(1)) - np.log(truth[:, kept].mean(1))
        return float(np.exp(squares.mean() / 2))

    whole = ratio(np.ones(points - 2, dtype=bool))
    if not 0 < whole < np.inf:
        reason = "on some target a curve has no second differences"
        return Evidence(None, None, None, merged.size, rows, method, reason)
    left = np.array([ratio((point < places) | (point > places + 2)) for point in range(points)])
    return replace(jackknife(whole, left, LOG, merged.size, rows, method), condition=ONE_SEED)


@dataclass(frozen=True)
class TrainedChoice:
    """A mixture and what training on it gave.

    Attributes:
        mixture: The mixture.
        examples: Its model's score on each test example of the run's target, higher is better. [E]
    """

    mixture: Mixture
    examples: Floats


def choose_ratios(shop: Workshop, ratios: Ratios) -> dict[str, TrainedChoice]:
    """Return choices of ratios by validation scores, made in several ways and each really trained.

    `uniform`, `single` (the best dataset alone), `best_seed` (the best of the merged models that the
    regressor saw), `found` (by the regressor), `regressed` (by the same regressor from the really trained
    ratios); with four datasets or more `coarse` and `two_levels`; where the learning rate is constant `kept`
    and `anew`, which go on from a model half way to `found`.
    """
    names = shop.singles[0].datasets
    rng = np.random.default_rng(shop.config.run.seed)
    wide = rng.dirichlet(np.ones(len(names)), FINE)
    target = shop.grid.targets.index(shop.target)
    best_seed, found = _search(shop, shop.experts, wide)
    alone = shop.grid.merged[target, shop.grid.sizes == 1]
    weights = np.array([m.weights for m in ratios.drawn])
    regressed = wide[np.argmax(scheffe(weights, ratios.drawn_trained[target], wide))]
    chosen = {
        "uniform": Mixture.subset(names, names),
        "single": shop.singles[int(np.argmax(alone))],
        "best_seed": best_seed,
        "found": found,
        "regressed": mixtures_of(names, regressed[None])[0],
    }
    if len(names) >= 4:
        chosen |= _two_levels(shop, rng)
    recipe = shop.config.train
    examples = _trained(shop, chosen, recipe, shop.config.run.seed)
    choices = {name: TrainedChoice(mixture, examples[name]) for name, mixture in chosen.items()}
    if recipe.schedule == "constant" and not recipe.warmup and recipe.steps > 1:
        choices |= _half_way(shop, found, wide)
    return choices


def _search(
    shop: Workshop, experts: tuple[Path, ...], wide: Floats, base: Path | None = None
) -> tuple[Mixture, Mixture]:
    """Return the best of some merged models, and the best of all ratios by regression on those."""
    names = shop.singles[0].datasets
    seeds = mixtures_of(names, wide[:SEEDS])
    tasks: tuple[Task, ...] = ((shop.target, "validation"),)
    [scores] = shop.merged(seeds, experts, "merges to choose from", tasks, base)
    predicted = scheffe(wide[:SEEDS], scores, wide)
    [found] = mixtures_of(names, wide[np.argmax(predicted)][None])
    return seeds[int(np.argmax(scores))], found


def scheffe(weights: Floats, scores: Floats, asked: Floats) -> Floats:
    """Predict scores [A] of mixtures by Scheffé's quadratic Σ b_ij λ_i λ_j, fitted to scores [M]."""
    rows, columns = np.triu_indices(weights.shape[1])
    known, wanted = (x[:, rows] * x[:, columns] for x in (weights, asked))
    predicted: Floats = wanted @ np.linalg.lstsq(known, scores, rcond=None)[0]
    return predicted


def _two_levels(shop: Workshop, rng: np.random.Generator) -> dict[str, Mixture]:
    """Return choices made top-down: the ratio of two halves of the datasets, then ratios within each.

    A half's expert is the model that the run trained on all of it in equal parts.
    """
    names = shop.singles[0].datasets
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    models = tuple(shop.folder.model(Mixture.subset(names, half), shop.config.run.seed) for half in halves)
    shares = np.linspace(0, 1, COARSE + 1)
    tasks: tuple[Task, ...] = ((shop.target, "validation"),)
    merges = [Mixture(("first", "second"), (float(w), float(1 - w))) for w in shares]
    [scores] = shop.merged(merges, models, "merges of two halves", tasks)
    share = float(shares[np.argmax(scores)])
    parts = [weight * rng.dirichlet(np.ones(len(half)), FINE) for weight, half in _weighted(share, halves)]
    equal = [np.full(len(half), weight / len(half)) for weight, half in _weighted(share, halves)]
    _, fine = _search(shop, shop.experts, np.hstack(parts))
    return {"coarse": mixtures_of(names, np.concatenate(equal)[None])[0], "two_levels": fine}


def _weighted(
    share: float, halves: tuple[tuple[str, ...], tuple[str, ...]]
) -> list[tuple[float, tuple[str, ...]]]:
    return list(zip((share, 1 - share), halves, strict=True))


def _half_way(shop: Workshop, found: Mixture, wide: Floats) -> dict[str, TrainedChoice]:
    """Return how training goes on half way: with `found`, and with what a second search from there finds.

    The second half starts its optimizer anew and draws other batches, for both alike.
    """
    recipe, seed, room = shop.config.train, shop.config.run.seed, shop.models / "half-way"
    first = replace(recipe, steps=recipe.steps // 2)
    rest = replace(recipe, steps=recipe.steps - first.steps)
    middle = room / "middle"
    shop.train([Train(found, seed, first, middle, ())], "half way")
    jobs = [Train(m, seed + 1, rest, room / "experts" / m.folder_name, ()) for m in shop.singles]
    shop.train(jobs, "experts from half way", middle)
    _, anew = _search(shop, tuple(job.folder for job in jobs), wide, middle)
    chosen = {"kept": found, "anew": anew}
    examples = _trained(shop, chosen, rest, seed + 1, middle, room)
    return {name: TrainedChoice(mixture, examples[name]) for name, mixture in chosen.items()}


def _trained(
    shop: Workshop,
    chosen: dict[str, Mixture],
    recipe: TrainRecipe,
    seed: int,
    base: Path | None = None,
    room: Path | None = None,
) -> dict[str, Floats]:
    tasks: tuple[Task, ...] = ((shop.target, "test"),)
    folders = [_folder(shop, mixture, seed, room) for mixture in chosen.values()]
    jobs = [
        Train(mixture, seed, recipe, folder, tasks)
        for mixture, folder in zip(chosen.values(), folders, strict=True)
    ]
    scores = shop.train(jobs, "chosen ratios", base)
    return {name: shop.gains(row[0], shop.target) for name, row in zip(chosen, scores, strict=True)}


def _folder(shop: Workshop, mixture: Mixture, seed: int, room: Path | None) -> Path:
    of_run = shop.folder.model(mixture, seed)
    if room is None and mixture.is_subset and of_run.exists():
        return of_run
    return (room or shop.models / "ratios") / mixture.key


def of_choices(choices: dict[str, TrainedChoice]) -> dict[str, Evidence]:
    """Compare the choices on the test examples; intervals are over examples, not over trainings."""
    pairs = {
        "regression": ("found", "best_seed"),
        "beats_uniform_ratio": ("found", "uniform"),
        "beats_single": ("found", "single"),
        "beats_regression_on_runs": ("found", "regressed"),
        "hierarchical": ("two_levels", "coarse"),
    }
    evidence = {
        claim: paired([choices[one].examples - choices[other].examples], *_labels(choices, one, other))
        for claim, (one, other) in pairs.items()
        if one in choices and other in choices
    }
    if "anew" in choices:
        second = choices["anew"].examples - choices["kept"].examples
        first = choices["found"].examples - choices["uniform"].examples
        evidence["static_enough"] = paired([second - first / 2], *_labels(choices, "anew", "uniform"))
    return evidence


def _labels(choices: dict[str, TrainedChoice], one: str, other: str) -> tuple[str, str]:
    return choices[one].mixture.label, choices[other].mixture.label
