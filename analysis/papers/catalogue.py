"""Every experiment behind the page of results, in the order in which they are done."""

from __future__ import annotations

from analysis.papers.experiment import Experiment
from analysis.papers.merge_to_mix import RAW_TEXT, TRANSLATION, VISION
from analysis.papers.mergemix import RATIOS, TRANSFER
from analysis.papers.questions.asked import QUESTIONS, SWEEPS

EXPERIMENTS: tuple[Experiment, ...] = (RAW_TEXT, VISION, TRANSLATION, RATIOS, TRANSFER, SWEEPS, *QUESTIONS)
