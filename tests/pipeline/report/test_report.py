"""The report: one file that needs no other, says what was found, and shows names as they are."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from helpers.report_folders import write_scores

from m2m.errors import RunFolderError
from m2m.pipeline.report import write_report
from m2m.pipeline.report.caveats import caveats

NASTY = "<script>alert(1)</script>"
ESTIMATE = {"value": 0.8, "low": 0.5, "high": 0.93, "n": 15, "reason": ""}
NO_ESTIMATE = {"value": None, "low": None, "high": None, "n": 0, "reason": "no second training seed"}
FOUND = {
    "mixtures": {
        "pearson": ESTIMATE
        | {
            "intervals": {
                "redrawn": {"about": "these mixtures", "low": 0.71, "high": 0.89, "reason": ""},
                "jackknife": {"about": "new datasets", "low": None, "high": None, "reason": "too few"},
            }
        },
        "spearman": ESTIMATE,
    },
    "with_singletons": {"pearson": ESTIMATE | {"value": 0.93, "n": 19}},
    "ceiling": {"pearson": ESTIMATE | {"value": 0.9, "attainable": 0.95}},
    "regret": 0.01,
    "regret_of_random": 0.2,
    "rank": 2,
    "candidates": 15,
}


def results(**changes: Any) -> dict[str, Any]:
    return {
        "m2m": "0.1.0",
        "target": "perl",
        "metric": "loss",
        "higher_is_better": False,
        "datasets": ["a", NASTY],
        "picked": [NASTY],
        "oracle": ["a", NASTY],
        "all": ["a", NASTY],
        "similarity": ["a"],
        "random": ["a"],
        "test": {"base": 3.0, "picked": 2.0, "all": 2.5, "similarity": 2.4, "random": 2.4, "oracle": 1.9},
        "validation": {"base": 3.1, "picked": 2.1},
        "fidelity": {"perl": FOUND, NASTY: FOUND},
        "seconds": {"experts": 1.5, "surrogate": 2.5},
        "recipe": {"steps": 40, "betas": [0.9, 0.999], "clip_norm": None},
        "seed": 7,
        **changes,
    }


def written(root: Path, content: dict[str, Any]) -> str:
    (root / "results.json").write_text(json.dumps(content), encoding="utf-8")
    path = write_report(root)
    assert path == root / "report.html"
    return path.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Collects tags, the addresses they load from, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_says_what_was_found(tmp_path: Path) -> None:
    text = " ".join(Elements(written(tmp_path, results(picked=["a"]))).text.split())
    for expected in (
        "Train on a",
        "the merged model of this one scores best on perl",
        "test loss of 2 (lower is better); base model 3, all datasets 2.5",
        "0.71 to 0.89",
        "– (too few)",
        "2 of 15",
        "steps 40 · betas 0.9, 0.999",
        "experts 1.5 · surrogate 2.5 · total 4.0",
    ):
        assert expected in text


def test_a_baseline_that_is_another_s_mixture_says_so(tmp_path: Path) -> None:
    same = results(random=["a", NASTY], similarity=["b"], oracle=["b"], picked=["a"])
    text = " ".join(Elements(written(tmp_path, same)).text.split())
    assert "random subset (here the same as all datasets)" in text
    assert "oracle (here the same as most similar datasets)" in text
    assert text.count("here the same as") == 2
    text = Elements(written(tmp_path, results(picked=["a", NASTY], random=["b"], similarity=["c"]))).text
    assert "all datasets (here the same as picked by merging)" in text


def test_names_are_shown_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[run]\ntarget = "{NASTY}"\n', encoding="utf-8")
    elements = Elements(written(tmp_path, results()))
    assert "script" not in elements.tags
    assert elements.text.count(NASTY) >= 4
    assert elements.open == []


def test_needs_no_other_file(tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    figures.mkdir()
    (figures / "fidelity_scatter.svg").write_text(
        "<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8"
    )
    (figures / "test_scores.png").write_bytes(b"png")
    write_scores(tmp_path, ["a", "b"], trained=3, target="perl")
    elements = Elements(written(tmp_path, results()))
    assert sorted(address.split(";")[0] for address in elements.addresses if address[0] != "#") == [
        "data:image/png",
        "data:image/svg+xml",
    ]


def test_a_run_that_trained_only_its_choice(tmp_path: Path) -> None:
    test = {"base": 3.0, "picked": 2.0, "oracle": None}
    text = Elements(written(tmp_path, results(fidelity={}, oracle=None, test=test, validation={}))).text
    assert "Not measured" in text
    assert "rank mixtures rightly is assumed" in text
    assert "validation loss" not in text


def test_undefined_correlations_give_their_reason(tmp_path: Path) -> None:
    found = FOUND | {
        "mixtures": {
            "pearson": NO_ESTIMATE | {"reason": "all merged scores are equal"},
            "spearman": ESTIMATE | {"low": None, "high": None, "reason": "no second training seed"},
        },
        "regret": None,
        "rank": None,
        "reason": "a score is not finite",
    }
    text = Elements(written(tmp_path, results(fidelity={"perl": found}))).text
    assert "– (all merged scores are equal)" in text
    assert text.count("– (a score is not finite)") == 2


def test_caveats_follow_from_the_numbers() -> None:
    said = "\n".join(caveats(results()))
    for expected in (
        "15 mixtures are few",
        "tested on other examples, r might lie between 0.71 and 0.89.",
        "For mixtures of other datasets nothing is known about r: too few.",
        "With the 4 single datasets the correlation is 0.93",
        "agree with r = 0.90, so about 0.95",
        "number 2 of 15 and loses 0.01",
    ):
        assert expected in said
    assert "worse than the base" not in said
    assert "beaten by" not in said


def test_a_pick_among_equals_is_called_one() -> None:
    said = "\n".join(caveats(results(ties=6)))
    assert "6 other mixtures have a merged model of exactly the same score" in said
    assert "exactly the same score" not in "\n".join(caveats(results(ties=0)))


def test_a_harmful_pick_is_called_harmful() -> None:
    said = "\n".join(caveats(results(test={"base": 3.0, "picked": 3.2, "all": 3.1, "random": 3.3})))
    assert "training on it harms" in said
    assert "beaten by: all." in said
    higher = results(test={"base": 0.5, "picked": 0.4, "random": 0.6}, higher_is_better=True)
    assert "beaten by: random." in "\n".join(caveats(higher))


def test_one_seed_has_no_ceiling() -> None:
    found = FOUND | {"ceiling": {"pearson": NO_ESTIMATE | {"attainable": None}}}
    assert "Without a second training seed" in "\n".join(caveats(results(fidelity={"perl": found})))


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run folder"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match="not JSON"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_target_on_which_nothing_is_gained_is_named() -> None:
    scores = {"perl": {"base": 2.0, "picked": 1.5}, "ruby": {"base": 3.0, "picked": 3.25}}
    said = [*caveats(results(utility={"test": scores}))]
    assert (
        "On the test split the pick is no better than the base model on ruby (3.2500 against 3.0000)." in said
    )
    assert not any("no better" in one for one in caveats(results(utility={"test": {"perl": scores["perl"]}})))
