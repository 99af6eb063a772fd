"""MergeMix: the best mixture on the simplex, from experts, few merged models and fitted surfaces."""

from __future__ import annotations

from m2m.mixing.of_experts import mix_experts
from m2m.mixing.of_run import mix
from m2m.mixing.result import MixResult, ScoredMixture

__all__ = ["MixResult", "ScoredMixture", "mix", "mix_experts"]
