"""Scores as others lay them out, written by hand: read as they are meant, and refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.cli import main
from analysis.fidelity.published import LAYOUTS
from m2m.errors import InputError
from m2m.predicting.tables import read_mixtures

RATIOS = (
    "run,name,index,web,code,maths\nhz0,s-0,0,0.5,0.3,0.2\npj0,s-1,1,0.6,0.2,0.2\nsq0,s-2,2,0.2,0.4,0.4\n"
)
SMALL = "run,name,index,arc_bpb,mmlu_bpb\nhz0,s-0,0,1.2,1.4\npj0,s-1,1,1.1,1.3\nsq0,s-2,2,1.3,\n"
LARGE = "run,name,index,arc_bpb,other\nsq0,s-2,0,0.9,1\nhz0,s-0,1,0.8,1\n"
SAMPLED = {
    "mix_0": {"general": 0.5, "math": 0.25, "code": 0.25},
    "mix_1": {"general": 0.2, "math": 0.8},
    "mix_2": {"general": 0.1, "math": 0.2, "code": 0.7},
    "mix_3": {"general": 0.6, "math": 0.2, "code": 0.2},
}
HEADER = "dataset,version,metric,mode,a-model\n"


def swarm(place: Path) -> tuple[Path, str, str]:
    for name, text in {"ratios": RATIOS, "small": SMALL, "large": LARGE}.items():
        (place / f"{name}.csv").write_text(text)
    return place / "ratios.csv", str(place / "small.csv"), str(place / "large.csv")


def demix(place: Path) -> tuple[Path, str, str]:
    source = place / "sampled_mixture.json"
    source.write_text(json.dumps(SAMPLED))
    for at, score in enumerate((31.0, 35.5, 28.0, 30.0)):
        for folder in (f"merged/mix_{at}/linear", f"trained/MODEL_MIX_{at}_seed/checkpoint-12500"):
            _summary(place / folder, "20260101_000000", f"gsm8k,1d7fe4,accuracy,gen,{score - 9}\n")
            # What was evaluated last counts, whatever the file system says.
            rows = f"gsm8k,1d7fe4,accuracy,gen,{score}\npiqa,1194eb,accuracy,ppl,-\n"
            _summary(place / folder, "20260102_000000", rows)
    return source, str(place / "merged"), str(place / "trained")


def _summary(place: Path, when: str, rows: str) -> None:
    folder = place / "compass_outputs" / when / "summary"
    folder.mkdir(parents=True)
    (folder / f"summary_{when}.csv").write_text(HEADER + rows)


def berasi(place: Path) -> tuple[Path, None, None]:
    source = place / "exp_qwen2_2b_100k"
    for kind, ocr, extra, score in (
        ("mixed", 89600, "", 0.6), ("merged", 89600, "--task_arithmetic", 0.5),
        ("mixed", 12800, "", 0.4), ("merged", 12800, "--task_arithmetic", 0.45),
    ):  # fmt: skip
        name = f"qwen2_2b_lora_{kind}_general-{102400 - ocr}++ocr-{ocr}{extra}"
        _results(source / name, "gqa", {"exact_match,none": score, "alias": "gqa"})
        mme = {"mme_cognition_score,none": 700 * score, "mme_perception_score,none": 700 * score}
        _results(source / name, "mme", mme)
    _results(source / "qwen2_2b_lora_expert_ocr-102400", "gqa", {"exact_match,none": 0.7})
    return source, None, None


def _results(model: Path, bench: str, metrics: dict[str, object]) -> None:
    folder = model / bench / "model__name"
    folder.mkdir(parents=True)
    content = {"results": {bench: metrics, "not_of_the_paper": {}}, "config": {}}
    (folder / "20251015_051555_results.json").write_text(json.dumps(content))


def test_a_swarm_joins_on_the_run_and_leaves_out_what_one_side_lacks(tmp_path: Path) -> None:
    [arc] = LAYOUTS["olmix"].read(*swarm(tmp_path), True)
    assert (arc.target, arc.higher_is_better, arc.left_out) == ("arc_bpb", False, 1)
    assert arc.labels[0] == "web=0.5+code=0.3+maths=0.2"
    assert arc.merged.tolist() == [1.2, 1.3]
    assert arc.trained.tolist() == [0.8, 0.9]
    table = read_mixtures(tmp_path / "ratios.csv")
    assert (table.domains, table.labels[0]) == (("web", "code", "maths"), "hz0")


def test_demix_reads_the_last_summary_of_every_mixture(tmp_path: Path) -> None:
    [gsm] = LAYOUTS["demix"].read(*demix(tmp_path), False)
    assert gsm.target == "gsm8k"
    assert gsm.merged.tolist() == gsm.trained.tolist() == [31.0, 35.5, 28.0, 30.0]
    assert gsm.members is not None
    assert gsm.members[1] == ("general", "math")


def test_berasi_pairs_folders_of_the_same_mixture_and_experts_stand_on_both_sides(tmp_path: Path) -> None:
    gqa, mme = LAYOUTS["berasi"].read(*berasi(tmp_path), False)
    found = dict(zip(gqa.labels, zip(gqa.merged, gqa.trained, strict=True), strict=True))
    assert found == {"ocr": (0.7, 0.7), "general=0.125+ocr=0.875": (0.5, 0.6),
                     "general=0.875+ocr=0.125": (0.45, 0.4)}  # fmt: skip
    assert mme.trained.tolist() == pytest.approx([0.3, 0.2])


def test_the_verb_writes_intervals_of_a_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, merged, trained = demix(tmp_path)
    out = tmp_path / "out"
    asked = ["fidelity", str(source), "--format", "demix", "--merged", merged, "--trained", trained]
    assert main([*asked, "--out", str(out)]) == 0
    assert json.loads((out / "fidelity.json").read_text())["source"]["layout"] == "demix"
    assert "gsm8k: Pearson 1.000" in capsys.readouterr().out


def test_what_all_metrics_lack_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"m{number}" for number in range(5)]
    scores = "".join(f"{run},{','.join('0.5' for _ in names)}\n" for run in ("hz0", "pj0", "sq0"))
    (tmp_path / "ratios.csv").write_text(RATIOS)
    (tmp_path / "scores.csv").write_text(f"run,{','.join(names)}\n{scores}")
    both = str(tmp_path / "scores.csv")
    asked = ["fidelity", str(tmp_path / "ratios.csv"), "--format", "regmix", "--merged", both]
    assert main([*asked, "--trained", both, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert said.count("nothing stands beside merging") == 1
    assert "nothing stands beside merging on 5 targets: the expert of 'web' has no scores" in said


def _twice(place: Path) -> tuple[Path, str, str]:
    source, small, large = swarm(place)
    Path(large).write_text(LARGE + "hz0,s-0,1,0.8,1\n")
    return source, small, large


def _without_numbers(place: Path) -> tuple[Path, str, str]:
    source, small, large = swarm(place)
    Path(small).write_text(SMALL.replace("1.2", "1,2x").replace("1,2x", '"1,2x"'))
    return source, small, large


def _other_targets(place: Path) -> tuple[Path, str, str]:
    source, small, large = swarm(place)
    Path(large).write_text(LARGE.replace("arc_bpb", "arc"))
    return source, small, large


def _two_checkpoints(place: Path) -> tuple[Path, str, str]:
    found = demix(place)
    _summary(place / "merged/mix_0/again", "20260103_000000", "gsm8k,1d7fe4,accuracy,gen,1\n")
    return found


def _two_methods(place: Path) -> tuple[Path, None, None]:
    found = berasi(place)
    (found[0] / "qwen2_2b_lora_merged_general-12800++ocr-89600--ties").mkdir()
    return found


def _another_metric(place: Path) -> tuple[Path, None, None]:
    found = berasi(place)
    _results(found[0] / "qwen2_2b_lora_expert_general-102400", "gqa", {"acc,none": 0.7})
    return found


@pytest.mark.parametrize(
    ("layout", "write", "says"),
    [
        ("regmix", _twice, "large.csv, line 4: run 'hz0' is there twice"),
        ("regmix", _without_numbers, "small.csv, line 2, column 'arc_bpb': '1,2x' is not a number"),
        (
            "olmix",
            _other_targets,
            r"no mixture is scored on both sides .* trained, 2 mixtures on \['arc', 'other'\]",
        ),
        ("demix", _two_checkpoints, "mix_0: wanted one compass_outputs, that of one checkpoint, got 2"),
        ("berasi", _two_methods, "has merges by task_arithmetic, ties: say which"),
        ("berasi", _another_metric, "gqa has no number 'exact_match,none'; it has acc,none"),
    ],
)
def test_what_does_not_fit_is_one_line(
    layout: str, write: Callable[[Path], tuple[Path, str | None, str | None]], says: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says):
        LAYOUTS[layout].read(*write(tmp_path), False)


def test_an_unknown_layout_and_one_without_its_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["fidelity", "x", "--format", "demiks", *out]) == 2
    assert "--format: no layout 'demiks' (did you mean 'demix'?)" in capsys.readouterr().err
    assert main(["fidelity", "x", "--format", "demix", *out]) == 2
    assert "demix's layout needs --merged" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
