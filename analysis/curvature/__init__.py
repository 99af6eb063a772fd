"""Curvature: gradients and Hessians of each dataset's loss at the base, as far as mixing needs them."""

from analysis.curvature.loss_surface import Landscape
from analysis.curvature.products import Matrix
from analysis.curvature.quadratic import Differences, QuadraticModel, quadratic_model, second_differences
from analysis.curvature.spectrum import Density, Spectrum, Trace, density, spectral_norm, spectrum, trace
from analysis.curvature.tables import Curvature, curvature

__all__ = [
    "Curvature",
    "Density",
    "Differences",
    "Landscape",
    "Matrix",
    "QuadraticModel",
    "Spectrum",
    "Trace",
    "curvature",
    "density",
    "quadratic_model",
    "second_differences",
    "spectral_norm",
    "spectrum",
    "trace",
]
