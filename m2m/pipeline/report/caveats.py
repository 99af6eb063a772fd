"""What a reader of the report must know before trusting a number, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from m2m.pipeline.headlines import headline
from m2m.pipeline.report.runner_up import too_close
from m2m.pipeline.report.trust import all_trained
from m2m.pipeline.run_folder import to_train_on
from m2m.setups.rows.contamination import Contamination

#: Fewer mixtures than this get a warning about small n: the 95 % interval of r = 0.8 is then wider than 0.25.
_MANY = 40


#: What an interval of a correlation may be about, and how to begin a sentence with it.
QUESTIONS = {
    "these mixtures": "Had these mixtures been trained with other seeds and tested on other examples,",
    "new datasets": "For mixtures of other datasets",
}


def interval_about(estimate: Mapping[str, Any], about: str) -> Mapping[str, Any]:
    """Return an estimate's interval that answers a question; empty if there is none."""
    found = (i for i in estimate.get("intervals", {}).values() if i.get("about") == about)
    return next(found, {})


def caveats(results: Mapping[str, Any], common: Contamination | None = None) -> Iterator[str]:
    """Say what limits the run's conclusions, given what its targets and datasets have in common."""
    yield from _pick(results)
    yield from contaminated(common)
    found = results["fidelity"].get(results["target"])
    if found is None and "pick" in results.get("trust", {}):
        yield from _believed(results["trust"])
    elif found is None:
        yield "Fidelity on the target was not measured: that merged scores rank mixtures rightly is assumed."
    else:
        yield from _size(found)
        yield from _singletons(found)
        yield from _ceiling(found)
        yield from _decision(found)
    yield "Each test score is of one trained model: what another training seed would change is not included."


def contaminated(common: Contamination | None) -> Iterator[str]:
    """Name the targets of which more than a little stands in the datasets too."""
    if shared := [] if common is None else common.shared_targets():
        yield (
            f"Targets that share text with the datasets: {', '.join(shared)}. Scores there flatter whoever "
            "trains on it."
        )


def _pick(results: Mapping[str, Any]) -> Iterator[str]:
    test = results["test"]
    if said := grown(results):
        yield said
    if said := of_how_many(results):
        yield said
    if said := tied(results) or too_close(results):
        yield said
    if test.get("base") is not None and _better(test["base"], test["picked"], results):
        yield "On the test split the picked mixture is worse than the base model: training on it harms."
    if said := no_better(results):
        yield said
    beaten = [name for name in ("all", "similarity", "random") if name in test]
    better = [
        name for name in beaten if test[name] is not None and _better(test[name], test["picked"], results)
    ]
    if better:
        yield f"On the test split the pick is beaten by: {', '.join(better)}."


def no_better(results: Mapping[str, Any]) -> str:
    """Name the targets, of several, on which the pick is no better than the base model; empty if none."""
    scores = results.get("utility", {}).get("test", {})
    said = []
    for target, of in scores.items():
        base, picked, upwards = of.get("base"), of.get("picked"), headline(results, target)[1]
        if None not in (base, picked) and not (picked > base if upwards else picked < base):
            said.append(f"{target} ({picked:.4f} against {base:.4f})")
    return (
        f"On the test split the pick is no better than the base model on {', '.join(said)}." if said else ""
    )


def of_how_many(results: Mapping[str, Any]) -> str:
    """Say that not every mixture was merged and scored; empty if every one was."""
    found = results.get("candidates")
    if not found or found["scored"] == found["of"]:
        return ""
    return (
        f"{found['scored']} of {found['of']} mixtures were merged and scored, those that a search asked for: "
        "all that is said of mixtures is about them."
    )


def grown(results: Mapping[str, Any]) -> str:
    """Say what a dataset that came later has changed; empty if there is none."""
    if not results.get("grew"):
        return ""
    last, taken = results["grew"][-1], to_train_on(results)
    if last["picked"] is None:
        return f"{last['dataset']} came later, before there was a pick."
    before = " + ".join(last["picked"])
    if last["picked"] == taken:
        return f"{last['dataset']} came later: the pick is still {before}."
    return f"{last['dataset']} came later: the pick was {before}, and is {' + '.join(taken)} now."


def tied(results: Mapping[str, Any]) -> str:
    """Say that the pick is one among equals; empty if it is not."""
    ties = results.get("ties")
    if not ties:
        return ""
    others = "1 other mixture has" if ties == 1 else f"{ties} other mixtures have"
    return (
        f"{others} a merged model of exactly the same score: the pick is the one with the fewest datasets, "
        "then the first, and not better than the rest."
    )


def _better(first: float, second: float, results: Mapping[str, Any]) -> bool:
    return first > second if results["higher_is_better"] else first < second


def _believed(trust: Mapping[str, Any]) -> Iterator[str]:
    if all_trained(trust):
        yield (
            f"All {trust['mixtures']} mixtures of two or more datasets were trained, once each: that the "
            "pick is the best of them is measured, on these validation examples and with one training seed."
        )
        return
    yield (
        f"That the pick loses at most {trust['pick']['limit']:.3g} is a belief from "
        f"{trust['trained']} of {trust['mixtures']} mixtures, not a measurement: a mixture that training "
        "makes better all at once, unlike all others, is not in it."
    )
    believed = trust["believed"]
    if believed["mixture"] != trust["pick"]["mixture"]:
        yield (
            f"{' + '.join(believed['mixture'])} is believed to be better than the best that was trained: "
            f"expected regret {believed['regret']:.3g} beside {trust['pick']['regret']:.3g}. Train it, then "
            "take the better one."
        )


def _size(found: Mapping[str, Any]) -> Iterator[str]:
    pearson = found["mixtures"]["pearson"]
    if pearson["value"] is None:
        yield f"The correlation on the target is not defined: {pearson.get('reason')}."
        return
    if pearson["n"] < _MANY:
        yield f"{pearson['n']} mixtures are few: read the interval, not only the correlation."
    for about, what in QUESTIONS.items():
        interval = interval_about(pearson, about)
        if interval.get("low") is not None:
            yield f"{what} r might lie between {interval['low']:.2f} and {interval['high']:.2f}."
        elif interval.get("reason"):
            yield f"{what} nothing is known about r: {interval['reason']}."


def _singletons(found: Mapping[str, Any]) -> Iterator[str]:
    every, n = found.get("with_singletons", {}).get("pearson", {}), found["mixtures"]["pearson"]["n"]
    if every.get("value") is not None and every["n"] > n:
        yield (
            f"With the {every['n'] - n} single datasets the correlation is {every['value']:.2f}, which "
            "flatters: for one dataset the merged model is the trained model."
        )


def _ceiling(found: Mapping[str, Any]) -> Iterator[str]:
    ceiling = found.get("ceiling", {}).get("pearson", {})
    if ceiling.get("value") is None:
        yield "Without a second training seed it is not known how much of the disagreement is training noise."
        return
    sentence = f"Two training seeds of the same mixtures agree with r = {ceiling['value']:.2f}"
    if ceiling.get("attainable") is not None:
        sentence += (
            f", so about {ceiling['attainable']:.2f} is the most that any surrogate can be expected to reach"
        )
    yield sentence + "."


def _decision(found: Mapping[str, Any]) -> Iterator[str]:
    if None in (found.get("rank"), found.get("regret"), found.get("candidates")):
        return
    random = found.get("regret_of_random")
    against = "" if random is None else f"; a mixture drawn at random loses {random:.4g} on average"
    yield (
        f"By validation score of the trained models the pick is number {found['rank']} of "
        f"{found['candidates']} and "
        f"loses {found['regret']:.4g} against the best{against}."
    )
