"""Will merging stand in for training? An answer from experts alone, before any mixture is trained."""

from analysis.outlook.prediction import LARGEST_SHARE, LOW, cut_factors, predicted_fidelity

__all__ = ["LARGEST_SHARE", "LOW", "cut_factors", "predicted_fidelity"]
