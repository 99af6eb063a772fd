"""What the verbs of `m2m-analysis` do, one function a verb: check the outputs, study, write results, draw.

Every function returns an `Outcome`, and writes a JSON, CSV tables and figures into a folder (docs/theory.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from m2m.support.lazy import lazy_names

if TYPE_CHECKING:
    from analysis.studies.of_claims import validate_claims
    from analysis.studies.of_fidelity import measure_fidelity
    from analysis.studies.of_models import (
        bound_error,
        measure_curvature,
        measure_interaction,
        measure_orthogonality,
        measure_outlook,
    )
    from analysis.studies.of_papers import redraw_papers
    from analysis.studies.of_scores import measure_trust
    from analysis.studies.outcome import Outcome

__all__ = [
    "Outcome",
    "bound_error",
    "measure_curvature",
    "measure_fidelity",
    "measure_interaction",
    "measure_orthogonality",
    "measure_outlook",
    "measure_trust",
    "redraw_papers",
    "validate_claims",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Outcome": "analysis.studies.outcome",
        "bound_error": "analysis.studies.of_models",
        "measure_curvature": "analysis.studies.of_models",
        "measure_fidelity": "analysis.studies.of_fidelity",
        "measure_interaction": "analysis.studies.of_models",
        "measure_orthogonality": "analysis.studies.of_models",
        "measure_outlook": "analysis.studies.of_models",
        "measure_trust": "analysis.studies.of_scores",
        "redraw_papers": "analysis.studies.of_papers",
        "validate_claims": "analysis.studies.of_claims",
    },
)
