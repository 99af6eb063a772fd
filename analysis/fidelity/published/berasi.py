"""Berasi et al. (arXiv 2602.04937): evaluations of merged and trained multimodal models by lmms-eval.

A folder `eval_bench/EXPERIMENT` has a folder a model, `BASE_SFT_mixed_a-12800++b-89600`,
`BASE_SFT_merged_a-12800++b-89600--METHOD` or `BASE_SFT_expert_a-102400`; numbers are training examples. In it
lie a folder a benchmark and `…/TIME_results.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.fidelity.published.paired import mixtures_of, paired
from analysis.fidelity.scores import Points
from m2m.errors import InputError
from m2m.support.doors import read_json

_PART = r"[^-+]+-[0-9]+"
_FOLDER = re.compile(rf"(.+)_(mixed|merged|expert)_({_PART}(?:\+\+{_PART})*)(?:--(.+))?")
#: The 14 benchmarks of the paper: their names in results, and the metrics that are added up.
_METRICS = {
    "gqa": ("exact_match,none",),
    "vqav2_val_lite": ("exact_match,none",),
    "vizwiz_vqa_val": ("exact_match,none",),
    "ok_vqa_val2014": ("exact_match,none",),
    "textvqa_val": ("exact_match,none",),
    "ocrbench": ("ocrbench_accuracy,none",),
    "docvqa_val": ("anls,none",),
    "infovqa_val": ("anls,none",),
    "cv_bench_2d": ("count_acc_softer,none",),
    "pope": ("pope_accuracy_soft,none",),
    "chartqa": ("relaxed_overall_soft,none",),
    "mme": ("mme_cognition_score,none", "mme_perception_score,none"),
    "vmcbench": ("average,none",),
    "mmstar": ("average_soft,none",),
}
#: MME's two scores reach 2,800 together; all others are shares.
_REACH = {"mme": 2800.0}


def read(source: Path, merged: str | None, trained: str | None, lower_is_better: bool) -> list[Points]:
    """Read the evaluations of one experiment.

    Args:
        source: `eval_bench/EXPERIMENT`.
        merged: The merge method, such as `task_arithmetic`; None: the only one that is there.
        trained: Nothing.
        lower_is_better: False: all are shares of right answers.

    Returns:
        A target a benchmark; experts are both merged and trained, so that baselines stand beside merging.

    Raises:
        InputError: If the folder is not one of these, or has models of several kinds.
    """
    if trained is not None or lower_is_better:
        raise InputError(
            f"{source}: this layout says itself which models were trained, and scores are shares"
        )
    folders = _folders(source, merged)
    keys = sorted({key for side in folders.values() for key in side})
    mixtures = mixtures_of(str(source), {key: _amounts(source, key) for key in keys})
    scores = {kind: {key: _scores(folder) for key, folder in side.items()} for kind, side in folders.items()}
    alone = scores["expert"]
    sides = (alone | scores["merged"], alone | scores["mixed"])
    return paired(str(source), mixtures, *sides, higher_is_better=True)


def _folders(source: Path, method: str | None) -> dict[str, dict[str, Path]]:
    """Find the models: by kind, then by what they were trained on, `a-12800++b-89600`."""
    if not source.is_dir():
        raise InputError(f"{source} is no folder; wanted eval_bench/EXPERIMENT")
    found = [(path, m) for path in sorted(source.iterdir()) if (m := _FOLDER.fullmatch(path.name))]
    kinds: dict[str, dict[str, Path]] = {"expert": {}, "mixed": {}, "merged": {}}
    bases = sorted({matched[1] for _, matched in found})
    if len(bases) != 1:
        raise InputError(
            f"{source}: wanted folders of one base model, BASE_SFT_mixed_a-12800++b-89600 and so on, got "
            f"{', '.join(bases) or 'none'}"
        )
    methods = sorted({matched[4] for _, matched in found if matched[2] == "merged" and matched[4]})
    if method is None and len(methods) > 1:
        raise InputError(
            f"{source} has merges by {', '.join(methods)}: say which, as `--merged {methods[0]}`"
        )
    if method is not None and method not in methods:
        raise InputError(f"{source} has no merges by {method!r}; it has {', '.join(methods) or 'none'}")
    for path, matched in found:
        if matched[2] != "merged" or method in (None, matched[4]):
            kinds[matched[2]][matched[3]] = path
    return kinds


def _amounts(source: Path, key: str) -> dict[str, float]:
    parts = [part.rsplit("-", 1) for part in key.split("++")]
    if len({name for name, _ in parts}) < len(parts):
        raise InputError(f"{source}: {key!r} has a domain twice")
    return {name: float(count) for name, count in parts}


def _scores(folder: Path) -> dict[str, float]:
    """Read a model's newest results of the paper's benchmarks; names of files begin with their time."""
    found: dict[str, float] = {}
    for bench in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(bench.rglob("*_results.json"), key=lambda path: path.name)
        if files:
            content = read_json(files[-1], "results of lmms-eval", shape={"results": {str: dict}})
            results: Mapping[str, Mapping[str, Any]] = content["results"]
            known = [name for name in results if name in _METRICS]
            found |= {name: _score(files[-1], name, results[name]) for name in known}
    return found


def _score(path: Path, name: str, metrics: Mapping[str, Any]) -> float:
    missing = [metric for metric in _METRICS[name] if not isinstance(metrics.get(metric), int | float)]
    if missing:
        raise InputError(f"{path}: {name} has no number {missing[0]!r}; it has {', '.join(metrics)}")
    return sum(float(metrics[metric]) for metric in _METRICS[name]) / _REACH.get(name, 1.0)
