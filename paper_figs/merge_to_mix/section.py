"""What the page says of Merge to Mix."""

from __future__ import annotations

from paper_figs.merge_to_mix import by_target, choice, correlation, cost_table, fidelity_table, regret_table
from paper_figs.part import Section

MERGE_TO_MIX = Section(
    "Merge to Mix (arXiv 2505.16066)",
    "Experts are trained on single datasets, every subset of them is merged and scored, and the best one is "
    "really trained. Here every subset is really trained as well.",
    (correlation.PART, by_target.PART, fidelity_table.PART, choice.PART, regret_table.PART, cost_table.PART),
)
