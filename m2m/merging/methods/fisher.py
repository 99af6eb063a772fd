"""fisher: average in which every element is weighted by how sure its expert is of it."""

from __future__ import annotations

from m2m.merging.methods.spec import Method, Parameter, Settings, number, twin
from m2m.merging.methods.weights import normaliser


def _check(settings: Settings) -> None:
    normaliser(settings.numbers("weight"), settings)


FISHER = Method(
    name="fisher",
    base="ignored",
    least=1,
    most=None,
    parameters=(
        number("weight", "model", 1.0, low=0),
        Parameter("fisher", "model", "text", required=True),
        number("floor", "shared", 1e-6, low=0, open_low=True),
    ),
    kind="elementwise",
    space="weights",
    source="Matena, Raffel, Merging models with Fisher-weighted averaging, 2022, arXiv 2111.09832, eq. 4",
    differences="not in mergekit",
    reference=twin("fisher"),
    rejects=_check,
)

METHODS = (FISHER,)
