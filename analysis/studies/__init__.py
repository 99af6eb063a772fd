"""What the verbs of `m2m-analysis` do, one function a verb: check the outputs, study, write results, draw.

Every function returns an `Outcome`, and writes a JSON, CSV tables and figures into a folder (docs/theory.md).
"""

from analysis.studies.of_claims import validate_claims
from analysis.studies.of_models import (
    bound_error,
    measure_curvature,
    measure_interaction,
    measure_orthogonality,
    measure_outlook,
)
from analysis.studies.of_papers import redraw_papers
from analysis.studies.of_scores import measure_fidelity, measure_trust
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
