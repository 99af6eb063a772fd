"""The report's table of single targets, where a run chose for several at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m2m.pipeline.headlines import headline, in_words
from m2m.pipeline.report.page import paragraph, table


def targets(
    utility: Mapping[str, Any], results: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[str]:
    """Lay out what each target that counts says of each model on the test split.

    Args:
        utility: The `utility` of a run's results.
        results: The results.
        names: What models are called, by their key.

    Yields:
        Parts of the page.
    """
    weights = utility["weights"]
    yield paragraph(
        "Several targets count. The utility is their weighted gain over the base model, each in standard "
        "deviations of the merged validation scores of all candidates, so that they count alike: the base "
        "model has 0.",
        "soft",
    )
    models = list(dict.fromkeys(name for of in utility["test"].values() for name in of))
    rows = [
        [
            target,
            in_words(*headline(results, target)),
            f"{weights[target]:.3g}",
            f"{utility['scales'][target]:.3g}",
            *_cells(of, models),
        ]
        for target, of in utility["test"].items()
    ]
    head = [
        "target",
        "metric",
        "weight",
        "one standard deviation",
        *(names.get(model, model) for model in models),
    ]
    yield table(head, rows, "Test scores by target.")


def _cells(scores: Mapping[str, float | None], models: Sequence[str]) -> list[str]:
    found = [scores.get(model) for model in models]
    return ["–" if score is None else f"{score:.4g}" for score in found]
