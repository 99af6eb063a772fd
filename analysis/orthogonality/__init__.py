"""Orthogonality: how task vectors lie to each other, and what of it is chance, rounding or shared data."""

from analysis.orthogonality.confounders import AnchorEffect, Chance, Corrected, anchor_effect, chance, correct
from analysis.orthogonality.geometry import Geometry
from analysis.orthogonality.study import OrthogonalityStudy, of_run, orthogonality
from analysis.orthogonality.subspaces import Angles, principal_cosines, subspace_angles

__all__ = [
    "AnchorEffect",
    "Angles",
    "Chance",
    "Corrected",
    "Geometry",
    "OrthogonalityStudy",
    "anchor_effect",
    "chance",
    "correct",
    "of_run",
    "orthogonality",
    "principal_cosines",
    "subspace_angles",
]
