"""What the page says of the open questions."""

from __future__ import annotations

from paper_figs.part import Section
from paper_figs.questions import anchors, deploy, harm, many, recipes, rules, simplex

QUESTIONS = Section(
    "Open questions",
    "What both papers leave open, asked of the raw-text set-up, one of MergeMix's, and at the end one of "
    "many datasets. Each verdict is chosen by the numbers: it says more or less only where the whole "
    "interval does.",
    (
        harm.PART,
        rules.PART,
        deploy.PART,
        recipes.PART,
        simplex.WEIGHTED,
        simplex.CORRECTED,
        anchors.PART,
        many.PART,
    ),
)
