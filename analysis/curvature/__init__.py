"""Curvature: gradients and Hessians of each dataset's loss at the base, as far as mixing needs them."""

from analysis.curvature.differences import Differences, second_differences
from analysis.curvature.landscape import Landscape
from analysis.curvature.quadratic import QuadraticModel, quadratic_model
from analysis.curvature.spectrum import Spectrum, Trace, spectral_norm, spectrum, trace
from analysis.curvature.tables import Curvature, curvature

__all__ = [
    "Curvature",
    "Differences",
    "Landscape",
    "QuadraticModel",
    "Spectrum",
    "Trace",
    "curvature",
    "quadratic_model",
    "second_differences",
    "spectral_norm",
    "spectrum",
    "trace",
]
