"""Every format reads back as the weights to its digits, sums to one, and has its trainer's keys."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import ConfigError, InputError, MixtureError
from m2m.exporting import FORMATS, Sources, apportioned, decimals, read_mixture, render
from m2m.mixture import Mixture

MIXTURE = Mixture(("math", "code", "none", "web"), (1 / 3, 1 / 6, 0.0, 1 / 2))
MEMBERS = ["math", "code", "web"]
AMOUNTS = st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=9)


@given(amounts=AMOUNTS, total=st.integers(1, 10**9))
def test_shares_of_a_total(amounts: list[float], total: int) -> None:
    weights = [amount / math.fsum(amounts) for amount in amounts]
    counts = apportioned(weights, total)
    assert sum(counts) == total
    # Less than 1 from λ·total; λ itself sums to 1 within its roundings.
    assert all(abs(c - w * total) < 1 + 1e-14 * total for c, w in zip(counts, weights, strict=True))


@given(amounts=AMOUNTS, digits=st.integers(9, 12))
def test_written_decimals_sum_to_exactly_one(amounts: list[float], digits: int) -> None:
    weights = [amount / math.fsum(amounts) for amount in amounts]
    names = [f"d{n}" for n in range(len(weights))]
    if min(weights) < 10.0**-digits:
        return
    written = decimals(names, weights, digits)
    assert sum(map(Decimal, written)) == 1
    assert all(len(text.partition(".")[2]) == digits for text in written)
    # NumPy, which interleave_datasets draws with, takes sums within 1.5e-8 of 1.
    assert abs(math.fsum(map(float, written)) - 1) < 1e-12


def test_a_weight_that_would_vanish_is_refused() -> None:
    with pytest.raises(MixtureError, match=r"'b', 0\.0001, is 0 with 3 digits"):
        decimals(["a", "b"], [0.9999, 0.0001], 3)


def shares(texts: list[str]) -> None:
    """Six decimals of the members' weights, summing to 1."""
    assert sum(map(Decimal, texts)) == 1
    for text, weight in zip(texts, (1 / 3, 1 / 6, 1 / 2), strict=True):
        assert abs(Decimal(text) - Decimal(weight)) < Decimal("1e-6")


def test_json_reads_back_exactly(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(render(MIXTURE, "json"), encoding="utf-8")
    again = read_mixture(str(tmp_path / "m.json"))
    assert again.datasets == MIXTURE.datasets
    # Scaled by the sum of the weights, which is 1 but for a rounding.
    assert again.weights == pytest.approx(MIXTURE.weights, rel=2**-52)


def test_yaml_and_csv_are_exact() -> None:
    assert yaml.safe_load(render(MIXTURE, "yaml")) == {"weights": MIXTURE.shares}
    rows = list(csv.DictReader(io.StringIO(render(MIXTURE, "csv"))))
    assert [(row["dataset"], float(row["weight"])) for row in rows] == list(MIXTURE.shares.items())


def test_interleave_is_python_with_documented_arguments() -> None:
    """interleave_datasets(datasets, probabilities, seed, info, split, stopping_strategy)."""
    text = render(MIXTURE, "interleave", Sources({"web": "me/web"}))
    call = next(n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call))
    given_ = {keyword.arg: keyword.value for keyword in call.keywords}
    assert ast.unparse(call.func) == "interleave_datasets"
    assert set(given_) == {"probabilities", "seed", "stopping_strategy"}
    assert ast.literal_eval(given_["stopping_strategy"]) in {"first_exhausted", "all_exhausted"}
    probabilities = given_["probabilities"]
    assert isinstance(probabilities, ast.List)
    shares([ast.get_source_segment(text, element) or "" for element in probabilities.elts])
    loaded = call.args[0]
    assert isinstance(loaded, ast.List)
    assert [ast.literal_eval(one.args[0]) for one in loaded.elts if isinstance(one, ast.Call)] == [
        "math",
        "code",
        "me/web",
    ]


def test_llama_factory() -> None:
    """DataArguments: comma-separated strings, as many probabilities as datasets, no concat."""
    content = yaml.safe_load(render(MIXTURE, "llama-factory"))
    assert set(content) == {"dataset", "mix_strategy", "interleave_probs"}
    assert content["mix_strategy"] in {"interleave_under", "interleave_over"}
    assert content["dataset"].split(",") == MEMBERS
    shares(content["interleave_probs"].split(","))
    alone = yaml.safe_load(render(Mixture(("a",), (1.0,)), "llama-factory"))
    assert alone["interleave_probs"] == "1.000000", "a string, also where there is but one"
    with pytest.raises(MixtureError, match="commas"):
        render(MIXTURE, "llama-factory", Sources({"web": "a,b"}))


@pytest.mark.parametrize("to", ["axolotl", "trl"])
def test_row_counts(to: str) -> None:
    content = yaml.safe_load(render(MIXTURE, to, Sources(total=1000)))
    assert [set(entry) for entry in content["datasets"]] == [{"path", "split"}] * 3
    assert [entry["path"] for entry in content["datasets"]] == MEMBERS
    assert [entry["split"] for entry in content["datasets"]] == ["train[:333]", "train[:167]", "train[:500]"]
    with pytest.raises(InputError, match="500 examples of 'web' are wanted and it has 400"):
        render(MIXTURE, to, Sources(total=1000, sizes={"web": 400}))
    with pytest.raises(InputError, match="leaves no example"):
        render(MIXTURE, to, Sources(total=2))


def test_axolotl_needs_a_total() -> None:
    with pytest.raises(InputError, match=r"axolotl has no weights in its configuration.*total"):
        render(MIXTURE, "axolotl")


def test_trl_takes_fractions() -> None:
    """TRL 1.16: `fraction` for all datasets or none."""
    content = yaml.safe_load(render(MIXTURE, "trl"))
    assert [set(entry) for entry in content["datasets"]] == [{"path", "fraction"}] * 3
    shares([f"{entry['fraction']:.6f}" for entry in content["datasets"]])


def test_megatron_reads_its_blend_as_get_blend_from_list_does() -> None:
    """An even list whose every other word is a number is (weight, prefix) pairs."""
    words = render(MIXTURE, "megatron", Sources({"math": "/data/math_text_document"})).split()
    assert len(words) % 2 == 0
    assert words[1::2] == ["/data/math_text_document", "code", "web"]
    shares(words[::2])
    with pytest.raises(MixtureError, match="blanks"):
        render(MIXTURE, "megatron", Sources({"math": "my data"}))


def test_nemo() -> None:
    content = yaml.safe_load(render(MIXTURE, "nemo"))
    blend = content["model"]["data"]["data_prefix"]
    assert blend[1::2] == MEMBERS
    shares([f"{share:.6f}" for share in blend[::2]])


def test_olmo_core() -> None:
    """SourceMixtureList: ratios in (0, 1] that sum to 1, paths not empty, no other keys."""
    content = yaml.safe_load(render(MIXTURE, "olmo-core", Sources({"web": "/data/web/*.npy"})))
    assert set(content) == {"sources"}
    assert [set(source) for source in content["sources"]] == [{"source_name", "target_ratio", "paths"}] * 3
    assert [source["source_name"] for source in content["sources"]] == MEMBERS
    assert content["sources"][2]["paths"] == ["/data/web/*.npy"]
    shares([f"{source['target_ratio']:.6f}" for source in content["sources"]])


def test_unknown_format_and_dataset() -> None:
    with pytest.raises(ConfigError, match=r"no format 'axolot' \(did you mean 'axolotl'\?\)"):
        render(MIXTURE, "axolot")
    with pytest.raises(MixtureError, match=r"'wb' is no dataset of the mixture \(did you mean 'web'\?\)"):
        render(MIXTURE, "yaml", Sources({"wb": "x"}))


@pytest.mark.parametrize("to", FORMATS)
def test_one_dataset_is_a_mixture(to: str) -> None:
    assert "a" in render(Mixture(("a",), (1.0,)), to, Sources(total=10))


def run_folder(folder: Path, sampling: str) -> Path:
    recipe = {"sampling": sampling}
    content = {"datasets": ["a", "b", "c"], "picked": ["a", "c"], "recipe": recipe}
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_run_is_pooled_the_way_it_pooled(tmp_path: Path) -> None:
    run = run_folder(tmp_path, "balanced")
    assert read_mixture(str(run)).weights == (0.5, 0.0, 0.5)
    run = run_folder(tmp_path, "proportional")
    assert read_mixture(str(run), {"a": 300, "b": 5, "c": 100}).weights == (0.75, 0.0, 0.25)
    with pytest.raises(InputError, match="sizes=a=N"):
        read_mixture(str(run))


def test_typed_weights() -> None:
    assert read_mixture("a=0.25, b=0.75") == Mixture(("a", "b"), (0.25, 0.75))
    assert sum(read_mixture("a=0.333,b=0.333,c=0.333").weights) == pytest.approx(1)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "neither a run folder nor a JSON file"),
        ("a=0.3,b=0.3", "must sum to 1"),
        ("a=1.5,b=-0.5", "not negative"),
        ("a=0.5,a=0.5", "repeat"),
        ("a=x,b=0.5", "wanted weights like"),
        ("a=nan,b=0.5", "finite"),
        ("x=y=0.5,b=0.5", "dataset name 'x=y' has '='"),
    ],
)
def test_wrong_sources(source: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_mixture(source)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "got list"),
        ('{"a": "1"}', "wanted numbers"),
        ('{"datasets": ["a"], "weights": [1, 2]}', "as many weights as datasets"),
        ('{"datasets": ["a"], "weigths": [1]}', "did you mean 'weights'"),
        ("{}", "must sum to 1"),
        ('{"a": 0.5, "b": 0.5, "a": 0.5}', "the name 'a' occurs twice"),
        ('{"datasets": ["a", "a"], "weights": [0.5, 0.5]}', "dataset names repeat"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_mixture(str(tmp_path / "m.json"))


def test_a_pick_that_names_a_dataset_twice(tmp_path: Path) -> None:
    results = {"datasets": ["a", "b"], "picked": ["a", "a"], "recipe": {"sampling": "balanced"}}
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    with pytest.raises(InputError, match=r"results.json: 'a' is there twice among \['a', 'a'\]"):
        read_mixture(str(tmp_path))


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no finished run"):
        read_mixture(str(tmp_path))
    (tmp_path / "results.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="datasets is missing"):
        read_mixture(str(tmp_path))
