"""A ratio that is chosen again half way through training, beside one that is kept (MergeMix, Sec. 4.5)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.papers.capabilities import OVERALL, Capabilities
from analysis.papers.ratio_bench import RatioBench
from analysis.papers.surfaces import SMOOTH, Surfaces
from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.pipeline.run_folder import RunFolder
from m2m.searching import Simplex
from m2m.support.arrays import Floats


def half_way(
    bench: RatioBench, capabilities: Capabilities, base: Floats, found: Mixture, points: Floats
) -> tuple[RatioBench, dict[str, Mixture]]:
    """Train half of the steps on what was found, and choose again from there by new experts.

    The second half begins its optimizer anew and draws other batches, whatever is chosen.

    Args:
        bench: Where.
        capabilities: The utilities.
        base: Scores of the base model. [T]
        found: The ratio that the first half is trained on.
        points: Starting mixtures of the search. [M, N]

    Returns:
        Where models go on from half way, and the mixtures `kept` and `anew`.

    Raises:
        ConfigError: If the learning rate is not constant, so that halves are not alike.
    """
    recipe = bench.recipe
    if recipe.schedule != "constant" or recipe.warmup or recipe.steps < 2:
        raise ConfigError(
            f"{bench.config.path} [train]: training goes on half way at a constant learning rate, got "
            f"schedule {recipe.schedule!r}, warmup {recipe.warmup}, steps {recipe.steps}"
        )
    room = bench.models.root / "half-way"
    first = replace(recipe, steps=recipe.steps // 2)
    [middle] = replace(bench, models=RunFolder(room), recipe=first).experts(bench.seed, [found])
    after = bench.going_on(middle, replace(recipe, steps=recipe.steps - first.steps), room / "rest")
    scores = after.merged(after.mixtures(points), after.experts(bench.seed), "merges from half way")
    surface = Surfaces.fitted(SMOOTH, points, scores, capabilities, base, bench.seed)
    space = Simplex(bench.datasets)
    return after, {"kept": found, "anew": space.mixture(np.asarray(surface.best(OVERALL, space)))}
