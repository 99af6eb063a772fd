"""The theory of merging for mixing: when and why a merged model stands in for a mixture-trained one.

Every verb of `m2m-analysis` is a function here that does all of it; its options are the arguments.

    measure_fidelity        fidelity        agreement of merged and mixture-trained models
    measure_trust           trust           the pick's regret when few mixtures were trained
    measure_orthogonality   orthogonality   how experts' task vectors lie to each other
    measure_curvature       curvature       Hessians at the base, and the quadratic model of a target
    measure_interaction     interaction     the residual between trained and merged models
    bound_error             error-bound     upper bounds on the residual before a mixture is trained
    measure_outlook         outlook         whether merging will stand in for training, from experts alone
    validate_claims         validate        a verdict a claim of the papers, from real runs
    redraw_papers           papers          the papers' figures and tables on real models

They are not called as the rooms `analysis.fidelity`, `analysis.curvature` and so on, which have the parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.studies import (
        bound_error,
        measure_curvature,
        measure_fidelity,
        measure_interaction,
        measure_orthogonality,
        measure_outlook,
        measure_trust,
        redraw_papers,
        validate_claims,
    )

__all__ = [
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}; it has {__all__}")
    from analysis import studies

    return getattr(studies, name)


def __dir__() -> list[str]:
    return sorted(__all__)
