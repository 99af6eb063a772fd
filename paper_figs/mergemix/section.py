"""What the page says of MergeMix."""

from __future__ import annotations

from paper_figs.mergemix import (
    choice_table,
    geometry,
    halves,
    levels_table,
    rank_table,
    ranks,
    ratio_curves,
    search_cost,
    simplex_map,
    specialists,
    transfer,
)
from paper_figs.part import Section

MERGEMIX = Section(
    "MergeMix (arXiv 2601.17858)",
    "Experts are merged at 40 ratios, surfaces are fitted to the merged models' scores, and the best ratio "
    "by them is the one to train on. Capabilities are groups of targets, none of which one dataset wins "
    "alone.",
    [
        part.PART
        for part in (
            ranks,
            rank_table,
            ratio_curves,
            choice_table,
            specialists,
            levels_table,
            transfer,
            halves,
            geometry,
            simplex_map,
            search_cost,
        )
    ],
)
