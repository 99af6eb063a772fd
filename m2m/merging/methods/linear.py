"""Weighted sums whose weights the recipe gives: linear, task_arithmetic, passthrough."""

from __future__ import annotations

from m2m.merging.methods.spec import Gram, Method, Parameter, Settings, flag, number
from m2m.merging.methods.weighted import weighted_twin
from m2m.merging.methods.weights import normalised

WEIGHT = number("weight", "model")


def linear_coefficients(gram: Gram | None, settings: Settings) -> list[float]:
    """Weights of `linear`: w, or w / Σw.

    Args:
        gram: Not used.
        settings: `weight`, `normalize`.

    Returns:
        α. [N]
    """
    weights = settings.numbers("weight")
    return normalised(weights, settings) if settings.flag("normalize") else weights


def task_arithmetic_coefficients(gram: Gram | None, settings: Settings) -> list[float]:
    """Weights of `task_arithmetic`: λ·w, or λ·w / Σw.

    Args:
        gram: Not used.
        settings: `weight`, `normalize`, `lambda`.

    Returns:
        α of the task vectors. [N]
    """
    return [settings.number("lambda") * weight for weight in linear_coefficients(gram, settings)]


def passthrough_coefficients(gram: Gram | None, settings: Settings) -> list[float]:
    """Weight of `passthrough`: the scale.

    Args:
        gram: Not used.
        settings: `scale`.

    Returns:
        One weight. [1]
    """
    return settings.numbers("scale")


LINEAR = Method(
    name="linear",
    base="ignored",
    least=1,
    most=None,
    parameters=(WEIGHT, flag("normalize", True)),
    kind="weights",
    space="weights",
    source="Wortsman et al., Model soups, 2022, arXiv 2203.05482",
    differences="weights that cancel are refused (mergekit: NaN); weights are divided, not the sum",
    reference=weighted_twin(linear_coefficients, needs_gram=False, on_task_vectors=False),
    coefficients=linear_coefficients,
)

TASK_ARITHMETIC = Method(
    name="task_arithmetic",
    base="required",
    least=1,
    most=None,
    parameters=(
        WEIGHT,
        flag("normalize", False),
        number("lambda", "shared", 1.0),
        number("density", "model", 1.0, low=0, high=1, effect=False),
        flag("int8_mask", False, effect=False),
        flag("rescale", False, effect=False),
    ),
    kind="weights",
    space="task vectors",
    source="Ilharco et al., Editing models with task arithmetic, 2023, arXiv 2212.04089",
    differences="",
    reference=weighted_twin(task_arithmetic_coefficients, needs_gram=False, on_task_vectors=True),
    coefficients=task_arithmetic_coefficients,
)

PASSTHROUGH = Method(
    name="passthrough",
    base="ignored",
    least=1,
    most=1,
    parameters=(Parameter("scale", "model", "number", 1.0),),
    kind="weights",
    space="weights",
    source="copies tensors; with slices it stacks layers of different models",
    differences="",
    reference=weighted_twin(passthrough_coefficients, needs_gram=False, on_task_vectors=False),
    coefficients=passthrough_coefficients,
)

METHODS = (LINEAR, TASK_ARITHMETIC, PASSTHROUGH)
