"""Curvature: gradients and Hessians of each dataset's loss at the base, as far as mixing needs them."""

from analysis.curvature.batch_products import Matrix
from analysis.curvature.density import Density, density
from analysis.curvature.differences import Differences, second_differences
from analysis.curvature.landscape import Landscape
from analysis.curvature.quadratic import QuadraticModel, quadratic_model
from analysis.curvature.spectrum import Spectrum, spectral_norm, spectrum
from analysis.curvature.tables import Curvature, curvature
from analysis.curvature.trace import Trace, trace

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
