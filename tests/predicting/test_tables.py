"""Tables are joined and checked; what is wrong is named with its row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m2m import predict
from m2m.errors import InputError
from m2m.predicting.tables import read_mixtures, read_scores


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_joined_by_index_and_scaled_to_one(tmp_path: Path) -> None:
    x = write(tmp_path / "x.csv", "index,a,b,c\n1,0.333,0.333,0.333\n2,0.5,0.5,0\n")
    y = write(tmp_path / "y.csv", "loss,index\n7,2\n8,1\n")
    mixtures = read_mixtures(x)
    assert (mixtures.domains, mixtures.labels, mixtures.subsets) == (("a", "b", "c"), (1, 2), False)
    np.testing.assert_allclose(mixtures.weights, [[1 / 3] * 3, [0.5, 0.5, 0]], rtol=1e-15)
    assert read_scores(y, "loss", mixtures).tolist() == [8, 7]


def test_without_an_index_rows_are_joined_in_order() -> None:
    mixtures = read_mixtures(pd.DataFrame({"a": [0.5, 1.0], "b": [0.5, 0.0]}))
    assert (mixtures.labels, mixtures.indexed) == ((0, 1), False)
    assert read_scores(pd.DataFrame({"m": [1, 2]}), "m", mixtures).tolist() == [1, 2]


def test_subsets_become_averages() -> None:
    mixtures = read_mixtures(pd.DataFrame({"a": [1, 1], "b": [0, 1], "c": [0, 1]}))
    assert mixtures.subsets
    np.testing.assert_allclose(mixtures.weights, [[1, 0, 0], [1 / 3] * 3])


def test_single_datasets_are_weights_already() -> None:
    assert not read_mixtures(pd.DataFrame({"a": [1, 0], "b": [0, 1]})).subsets


def test_a_saved_data_frames_index_is_one(tmp_path: Path) -> None:
    pd.DataFrame({"a": [0.5], "b": [0.5]}, index=[9]).to_csv(tmp_path / "x.csv")
    assert read_mixtures(tmp_path / "x.csv").labels == (9,)


def test_percentages_are_shares(tmp_path: Path) -> None:
    mixtures = read_mixtures(write(tmp_path / "x.csv", "index;a;b\n1;33,3;66,7\n2;100;0\n"))
    np.testing.assert_allclose(mixtures.weights, [[0.333, 0.667], [1, 0]], rtol=1e-12)


@pytest.mark.parametrize("column", ["run", "run_id"])
def test_tables_of_runs_are_joined_by_them(tmp_path: Path, column: str) -> None:
    """Ratios and metrics as Olmix has them, with names for people."""
    x = write(tmp_path / "ratios.csv", f"{column},name,dclm,wiki\nr1,first,0.4,0.6\nr2,second,1,0\n")
    y = write(tmp_path / "metrics.csv", f"{column},arc_bpb\nr2,1.5\nr1,1.25\n")
    mixtures = read_mixtures(x)
    assert (mixtures.domains, mixtures.labels) == (("dclm", "wiki"), ("r1", "r2"))
    assert read_scores(y, "arc_bpb", mixtures).tolist() == [1.25, 1.5]


def test_a_domain_may_be_called_run() -> None:
    assert read_mixtures(pd.DataFrame({"run": [0.5, 1], "jump": [0.5, 0]})).domains == ("run", "jump")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a CSV table"),
        ("index,a,b\n", "has no rows"),
        ("index\n1\n", "has no column of weights"),
        ("index,a,b\n1,0.5,0.5\n1,1,0\n", "rows 1 and 2: index 1 is there twice"),
        ("index,a,b\n1,0.5,0.5\n2,1,\n", "x.csv, index 2: 'b' is '', wanted a finite number"),
        ("index,a,b\n1,0.5,x\n", "index 1: 'b' is 'x', wanted a finite number"),
        ("a,b\n1.5,-0.5\n", "row 1: the weight of 'b' is -0.5, wanted ≥ 0"),
        ("index,a,b\n1,0.5,0.5\n7,0.5,0.7\n", "index 7: weights sum to 1.2, wanted 1 ± 0.1"),
        ("index,a,b\n1,5.1,4.9\n7,5.2,5.2\n", "index 1: weights sum to 10, .*is this a table of scores"),
        ("index,a,b\n1,0.51,0.49\n7,0.5,0.52\n", "index 7: weights sum to 1.02, wanted 1 ± 0.01"),
        ("index,a,b, a\n1,0.5,0.5,0\n", "line 1: there is more than one column 'a'"),
        ("a,b\n0,5,0,5\n", r"line 2: wanted as many cells as the header has columns \(2\), got 4"),
        ("a,b\n1_0,0\n", "row 1: 'a' is '1_0', wanted a finite number"),
        ("index,a,b\n1,50,50\n2,0.5,0.5\n", "weights sum to 100, wanted 1 .*other rows do not sum to 100"),
        ("index,a,b\n1,0,0\n", "index 1: all weights are 0"),
        ("a,b\n1e308,1e308\n", r"row 1: the weight of 'a' is 1e\+308, wanted at most 1"),
    ],
)
def test_wrong_mixtures(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_mixtures(write(tmp_path / "x.csv", text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "index,loss\n1,2\n",
            "has no row for 1 of .*x.csv's mixtures, such as 2; score them, or leave them out",
        ),
        ("index,loss\n1,2\n2,3\n3,4\n", "x.csv has no row for 1 of .*y.csv's scores, such as 3"),
        ("index,los\n1,2\n2,3\n", r"no column 'loss' \(did you mean 'los'\?\)"),
        ("index,loss\n1,2\n2,inf\n", "index 2: 'loss' is inf"),
        ("loss\n2,75\n3,5\n", "line 2: wanted as many cells"),  # not the loss 75 of the row 2
        ("loss\n1\n2\n", "x.csv has an index column and .*y.csv has none"),
    ],
)
def test_wrong_scores(tmp_path: Path, text: str, said: str) -> None:
    mixtures = read_mixtures(write(tmp_path / "x.csv", "index,a,b\n1,0.5,0.5\n2,1,0\n"))
    with pytest.raises(InputError, match=said):
        read_scores(write(tmp_path / "y.csv", text), "loss", mixtures)


def test_labels_that_read_as_missing_are_labels(tmp_path: Path) -> None:
    read = read_mixtures(write(tmp_path / "x.csv", "index,a,b\nNA,0.5,0.5\nnull,1,0\n"))
    assert read.labels == ("NA", "null")


def test_part_of_a_columns_name_is_enough_to_suggest_it() -> None:
    mixtures = read_mixtures(pd.DataFrame({"a": [1.0], "b": [0.0]}))
    scores = pd.DataFrame({"metric/the_pile_cc_val_loss": [1], "metric/the_github_val_loss": [1]})
    with pytest.raises(InputError, match=r"did you mean 'metric/the_pile_cc_val_loss'\?"):
        read_scores(scores, "pile_cc", mixtures)


def test_rows_without_index_must_be_as_many() -> None:
    mixtures = read_mixtures(pd.DataFrame({"a": [0.5, 1.0], "b": [0.5, 0.0]}))
    with pytest.raises(InputError, match="has 3 rows"):
        read_scores(pd.DataFrame({"m": [1, 2, 3]}), "m", mixtures)


def frames(rows: int = 20) -> tuple[pd.DataFrame, pd.DataFrame]:
    x = np.random.default_rng(0).dirichlet(np.ones(3), rows)
    mixtures = pd.DataFrame(x, columns=["a", "b", "c"]).rename_axis("index").reset_index()
    return mixtures, pd.DataFrame({"index": range(rows), "loss": x @ [1.0, 2, 3]})


def test_prediction_does_not_depend_on_the_order_of_columns_or_rows() -> None:
    x, y = frames()
    one = predict(x, y, "loss", at=x, model="ridge").table
    other = predict(x, y.iloc[::-1], "loss", at=x[["c", "index", "a", "b"]].iloc[::-1], model="ridge").table
    assert one is not None
    assert other is not None
    assert list(one.columns) == ["index", "predicted", "std", "low", "high"]
    pd.testing.assert_frame_equal(one, other.sort_values("index").reset_index(drop=True), check_exact=True)


def test_domains_must_be_the_same() -> None:
    x, y = frames()
    with pytest.raises(InputError, match=r"has no column 'c' \(did you mean 'cc'\?\)"):
        predict(x, y, "loss", at=x.rename(columns={"c": "cc"}), model="ridge")
    with pytest.raises(InputError, match="has a column 'd' that is no domain"):
        predict(x, y, "loss", at=x.assign(d=0.0), model="ridge")


def test_a_domain_that_was_never_scored_is_a_guess(caplog: pytest.LogCaptureFixture) -> None:
    x, y = frames()
    predict(x.assign(d=0.0), y, "loss", at=x.assign(a=0.0, b=0.0, c=0.0, d=1.0), model="ridge")
    assert "'d' is in no scored mixture" in caplog.text


def test_one_fold_is_none() -> None:
    x, y = frames()
    with pytest.raises(InputError, match="at least 2 folds"):
        predict(x, y, "loss", folds=1)
