"""Trust from few trainings: how good merging's choice is when few of its mixtures were trained."""

from analysis.trust.agreement import agreement
from analysis.trust.belief import Belief, believe
from analysis.trust.choice import Choice, NextTraining, next_training
from analysis.trust.combined import combined
from analysis.trust.design import Planned, design
from analysis.trust.landscape import Landscape
from analysis.trust.scheffe import scheffe
from analysis.trust.sources import of_run, of_table
from analysis.trust.study import TargetTrust, Trust, study, trust

__all__ = [
    "Belief",
    "Choice",
    "Landscape",
    "NextTraining",
    "Planned",
    "TargetTrust",
    "Trust",
    "agreement",
    "believe",
    "combined",
    "design",
    "next_training",
    "of_run",
    "of_table",
    "scheffe",
    "study",
    "trust",
]
