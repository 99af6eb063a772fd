"""A curvature study as JSON and tables."""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from analysis.curvature.runs import CurvatureStudy

NAME = "curvature"


def to_json(study: CurvatureStudy) -> dict[str, Any]:
    """Lay a study out for a JSON file.

    Args:
        study: The study.

    Returns:
        `datasets`, norms, `gamma`, `interactions`, `quadratic`, and `forward` and `spectra` if there are any.
    """
    tables = asdict(study.tables)
    error = study.predicted - study.merged
    quadratic = asdict(study.model) | {
        "target": study.target,
        "spearman": float(spearmanr(study.predicted, study.merged).statistic),
        "largest_error": float(np.abs(error).max()),
        "mixtures": len(study.mixtures),
    }
    content = tables | {"gamma": study.tables.gamma, "quadratic": quadratic}
    if study.forward is not None:
        gap = np.abs(study.forward.model.curvature - study.model.curvature)
        content["forward"] = asdict(study.forward) | {
            "largest_gap_in_stated_errors": float((gap / study.forward.curvature_error).max())
        }
    content["spectra"] = {
        name: asdict(ends) | {"trace": asdict(found)} for name, (ends, found) in study.spectra.items()
    }
    return content


def to_tables(study: CurvatureStudy) -> dict[str, pd.DataFrame]:
    """Lay a study out as tables.

    Args:
        study: The study.

    Returns:
        The pairs (Hessian k, direction j) with γ; the interactions (k, i, j); the quadratic predictions.
    """
    tables, names = study.tables, study.tables.datasets
    pairs = [
        {
            "hessian": names[k],
            "direction": names[j],
            "gamma": tables.gamma[k, j],
            "bent_gradient": tables.bent_gradients[k, j],
            "bent_task": tables.bent_tasks[k, j],
            "slope": tables.slopes[k, j],
        }
        for k, j in product(range(len(names)), repeat=2)
    ]
    triples = [
        {"hessian": names[k], "first": names[i], "second": names[j], "value": tables.interactions[k, i, j]}
        for k, i, j in product(range(len(names)), repeat=3)
    ]
    predictions = {
        "mixture": [mixture.label for mixture in study.mixtures],
        "predicted": study.predicted,
        "merged": study.merged,
    }
    return {
        "": pd.DataFrame(pairs),
        "interactions": pd.DataFrame(triples),
        "quadratic": pd.DataFrame(predictions),
    }
