"""`m2m predict` and `m2m export` as their users type them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m2m.cli import main

#: Where a copy of RegMix's published tables lies (MIT licence, github.com/sail-sg/regmix).
REGMIX = os.environ.get("M2M_REGMIX")


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Tables shaped like RegMix's: an index, sparse rounded weights of 17 domains, long names."""
    rng = np.random.default_rng(0)
    x = rng.dirichlet(np.full(17, 0.2), 60).round(3)
    names = [f"train_the_pile_{n}" for n in range(17)]
    y = 4 + (x + 0.001) ** 0.3 @ -rng.random(17)
    index = rng.permutation(60) + 1
    pd.DataFrame(x, columns=names, index=index).rename_axis("index").to_csv(tmp_path / "x.csv")
    scores = pd.DataFrame({"metric/a_val_loss": y, "metric/b_val_loss": -y}, index=index).rename_axis("index")
    scores.sort_index().to_csv(tmp_path / "y.csv")
    return tmp_path / "x.csv", tmp_path / "y.csv"


def run(*argv: str | Path) -> int:
    return main(["predict", *map(str, argv)])


def test_predictions_of_other_mixtures(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = tables
    out = tmp_path / "pred.csv"
    common = ("--mixtures", x, "--scores", y, "--target", "metric/a_val_loss", "--model", "ridge-log")
    assert run(*common, "--at", x, "--out", out, "--json", "-q") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["model"], outcome["mixtures"], outcome["domains"]) == ("ridge-log", 60, 17)
    got = pd.read_csv(out)
    truth = pd.read_csv(y).set_index("index").loc[got["index"], "metric/a_val_loss"]
    assert list(got.columns) == ["index", "predicted", "std", "low", "high"]
    assert np.corrcoef(got["predicted"], truth)[0, 1] > 0.95
    first = out.read_bytes()
    assert run(*common, "--at", x, "--out", out, "-q") == 0
    assert out.read_bytes() == first, "the same seed, the same bytes"


def test_several_tables_are_predicted_by_one_fit(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = tables
    few, both = tmp_path / "few.csv", (tmp_path / "all.csv", tmp_path / "some.csv")
    pd.read_csv(x).head(7).to_csv(few, index=False)
    common = ("--mixtures", x, "--scores", y, "--target", "metric/a_val_loss", "--model", "ridge")
    assert run(*common, "--at", x, few, "--out", *both) == 0
    assert f"{both[1]}: 7 predictions" in capsys.readouterr().out
    every, some = map(pd.read_csv, both)
    pd.testing.assert_frame_equal(every.head(7), some)
    assert run(*common, "--at", x, few, "--out", tmp_path / "one.csv") == 2
    assert "got 2 to predict and 1 to write" in capsys.readouterr().err
    assert not (tmp_path / "one.csv").exists()


def test_a_saved_predictor_predicts_the_same_file(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = tables
    saved, outs = tmp_path / "p.json", (tmp_path / "a.csv", tmp_path / "b.csv")
    fit = ("--mixtures", x, "--scores", y, "--target", "metric/a_val_loss", "--model", "ridge-log")
    assert run(*fit, "--save", saved, "--at", x, "--out", outs[0]) == 0
    assert f"{saved}: the predictor, for --load\n" in capsys.readouterr().out
    assert run("--load", saved, "--at", x, "--out", outs[1], "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["target"], outcome["model"], outcome["mixtures"]) == (
        "metric/a_val_loss",
        "ridge-log",
        60,
    )
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert run("--load", saved) == 0
    assert "CROSS-VALIDATED SPEARMAN" in capsys.readouterr().out
    assert run("--load", saved, "--seed", "1", "--cv", "3") == 2
    assert "leave out --cv and --seed" in capsys.readouterr().err
    assert run(*fit, "--save", x) == 2
    assert "is an input" in capsys.readouterr().err


def test_cross_validation_alone(tables: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    x, y = tables
    argv = ("--mixtures", x, "--scores", y, "--target", "metric/b_val_loss", "--model", "ridge", "--cv", "4")
    assert run(*argv) == 0
    captured = capsys.readouterr()
    assert "CROSS-VALIDATED SPEARMAN" in captured.out
    assert "model: ridge\n" in captured.out
    assert "m2m: fitting ridge 4/4" in captured.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--target", "metric/a_val_los"), "did you mean 'metric/a_val_loss'"),
        (("--target", "metric/a_val_loss", "--model", "lightbm"), "did you mean 'lightgbm'"),
        (("--target", "metric/a_val_loss", "--out", "p.csv"), "give both, or neither"),
        (("--target", "metric/a_val_loss", "--at", "x.csv", "--out", "no/p.csv"), "there is no folder no"),
        (("--target", "metric/a_val_loss", "--index", "run"), "no column 'run'"),
        (("--target", "metric/a_val_loss", "--cv", "1"), "at least 2 folds"),
    ],
)
def test_mistakes_are_one_line(
    tables: tuple[Path, Path], argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = tables
    assert run("--mixtures", x, "--scores", y, *argv) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(REGMIX is None, reason="M2M_REGMIX does not say where RegMix's tables are")
def test_regmix(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(str(REGMIX))
    tables = ("--mixtures", folder / "train_mixture_1m.csv", "--scores", folder / "train_pile_loss_1m.csv")
    assert run(*tables, "--target", "metric/the_pile_pile_cc_val_loss", "--json", "-q") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["spearman"]["auto"] >= 0.99
    assert outcome["spearman"]["auto"] > outcome["spearman"]["lightgbm"]


def test_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "blend.txt"
    argv = ["export", "a=0.3,b=0.7", "--to", "megatron", "--path", "a=/data/a", "--out", str(out)]
    assert main([*argv, "--digits", "2"]) == 0
    assert out.read_text(encoding="utf-8") == "0.30 /data/a 0.70 b\n"
    assert main([*argv[:2], "--to", "axolotl", "--out", str(out)]) == 2
    assert "--total" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8").startswith("0.30"), "a mistake leaves the file alone"
    assert main([*argv, "--size", "a=lots"]) == 2
    assert "wanted a whole number" in capsys.readouterr().err
    assert main([*argv, "--path", "a=b"]) == 2
    assert "more than once" in capsys.readouterr().err
