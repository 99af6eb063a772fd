"""Curvature: gradients and Hessians of each dataset's loss at the base, as far as mixing needs them."""

from analysis.curvature.loss_surface import LossSurface
from analysis.curvature.products import Matrix
from analysis.curvature.quadratic import (
    Differences,
    QuadraticExpansion,
    quadratic_expansion,
    second_differences,
)
from analysis.curvature.spectrum import Density, Spectrum, Trace, density, spectral_norm, spectrum, trace
from analysis.curvature.study import CurvatureStudy, of_run
from analysis.curvature.tables import Curvature, curvature

__all__ = [
    "Curvature",
    "CurvatureStudy",
    "Density",
    "Differences",
    "LossSurface",
    "Matrix",
    "QuadraticExpansion",
    "Spectrum",
    "Trace",
    "curvature",
    "density",
    "of_run",
    "quadratic_expansion",
    "second_differences",
    "spectral_norm",
    "spectrum",
    "trace",
]
