"""Orthogonality: how task vectors lie to each other, and what of it is chance, rounding or shared data."""

from analysis.orthogonality.anchors import AnchorEffect, anchor_effect
from analysis.orthogonality.chance import Chance, chance
from analysis.orthogonality.geometry import Geometry
from analysis.orthogonality.measure import Study, orthogonality
from analysis.orthogonality.rounding import Corrected, correct
from analysis.orthogonality.subspaces import Angles, principal_cosines, subspace_angles

__all__ = [
    "AnchorEffect",
    "Angles",
    "Chance",
    "Corrected",
    "Geometry",
    "Study",
    "anchor_effect",
    "chance",
    "correct",
    "orthogonality",
    "principal_cosines",
    "subspace_angles",
]
