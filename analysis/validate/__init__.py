"""Validate: every claim of both papers and every signature of failure, asked of real runs."""

from analysis.validate.claims import CLAIMS
from analysis.validate.validation import Options, Validation, validate
from analysis.validate.verdict import RULE, Claim, Evidence, Verdict, judge

__all__ = ["CLAIMS", "RULE", "Claim", "Evidence", "Options", "Validation", "Verdict", "judge", "validate"]
