"""Weighted sums whose weights the recipe gives: linear, task_arithmetic, passthrough."""

from __future__ import annotations

from m2m.merging.methods.parameters import Parameter, Settings, flag, number
from m2m.merging.methods.weighted import WeightedSum, normalised

WEIGHT = number("weight", "model")


def linear_weights(settings: Settings) -> list[float]:
    """w, or w / Σw [N]."""
    weights = settings.numbers("weight")
    return normalised(weights, settings) if settings.flag("normalize") else weights


def task_arithmetic_weights(settings: Settings) -> list[float]:
    """λ·w, or λ·w / Σw, of the task vectors [N]."""
    return [settings.number("lambda") * weight for weight in linear_weights(settings)]


def scales(settings: Settings) -> list[float]:
    """What each model's tensors are multiplied by. [N]."""
    return settings.numbers("scale")


LINEAR = WeightedSum(
    name="linear",
    base="ignored",
    parameters=(WEIGHT, flag("normalize", True)),
    space="weights",
    source="Wortsman et al., Model soups, 2022, arXiv 2203.05482",
    differences="weights that cancel are refused (mergekit: NaN); weights are divided, not the sum",
    weights=linear_weights,
)

TASK_ARITHMETIC = WeightedSum(
    name="task_arithmetic",
    base="required",
    parameters=(
        WEIGHT,
        flag("normalize", False),
        number("lambda", "shared", 1.0),
        number("density", "model", 1.0, low=0, high=1, effect=False),
        flag("int8_mask", False, effect=False),
        flag("rescale", False, effect=False),
    ),
    space="task vectors",
    source="Ilharco et al., Editing models with task arithmetic, 2023, arXiv 2212.04089",
    weights=task_arithmetic_weights,
)

PASSTHROUGH = WeightedSum(
    name="passthrough",
    base="ignored",
    most=1,
    parameters=(Parameter("scale", "model", "number", 1.0),),
    space="weights",
    source="copies tensors; with slices it stacks layers of different models",
    weights=scales,
)

METHODS = (LINEAR, TASK_ARITHMETIC, PASSTHROUGH)
