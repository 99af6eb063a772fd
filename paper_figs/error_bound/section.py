"""What the page says of error bounds."""

from __future__ import annotations

from paper_figs.error_bound import panels
from paper_figs.part import Section

ERROR_BOUND = Section(
    "Error-bound analyses (ours)",
    "How far a model trained on a mixture lies from the merge of its experts: measured, predicted to second "
    "order, and bounded before the mixture is trained.",
    (panels.PART,),
)
