"""`m2m.score` on Hugging Face folders: the scores of merging to disk and loading, kept by content."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_models import write_llama

import m2m
from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError, ConfigError, DataError, InputError, MixtureError
from m2m.mixture import Mixture, all_subsets
from m2m.scoring.live.mapped import check_mapped, mapped_state
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks import TaskOptions

pytest.importorskip("transformers", reason="needs the extra `huggingface`")

RECIPE = """
merge_method: linear
models:
  - {{model: {0}, parameters: {{weight: 0.5}}}}
  - {{model: {1}, parameters: {{weight: 0.5}}}}
base_model: {2}
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and two experts in bfloat16, with tied embeddings, and a text."""
    root = tmp_path_factory.mktemp("models")
    write_llama(root / "base", dtype=torch.bfloat16)
    for seed, name in enumerate("ab", start=1):
        write_llama(root / name, seed=seed, noise=0.05, dtype=torch.bfloat16)
    (root / "text.txt").write_text("A text that is longer than one window of sixteen tokens.")
    return root


def score(models: Path, out: Path, **more: object) -> m2m.scoring.ScoreReport:
    options = {"tasks": [f"lm:{models / 'text.txt'}"], "context": 16, "out": out / "scores.csv"} | more
    return m2m.score(models / "base", [models / "a", models / "b"], **options)


def size_of(models: Path, names: str) -> int:
    files = [m2m.Checkpoint(models / name) for name in names]
    return sum(tensor.nbytes for file in files for tensor in file.tensors.values())


def examples(out: Path) -> dict[str, list[float]]:
    with ScoreTable(out / "scores.sqlite") as table:
        return {row.candidate: row.examples.tolist() for row in table.rows(metric="loss")}


def test_scores_are_those_of_merging_to_disk_and_loading(models: Path, tmp_path: Path) -> None:
    report = score(models, tmp_path, mode="resident")
    assert (report.candidates, report.scored_now) == (3, 3)
    assert report.examples == 3 * len(examples(tmp_path)["a+b"])
    (tmp_path / "recipe.yml").write_text(RECIPE.format(models / "a", models / "b", models / "base"))
    m2m.merge(tmp_path / "recipe.yml", tmp_path / "merged")
    own = tmp_path / "own"
    own.mkdir()
    m2m.score(
        models / "base", {"merged": tmp_path / "merged"}, tasks=[f"lm:{models / 'text.txt'}"], context=16,
        out=own / "scores.csv", mode="resident",
    )  # fmt: skip
    assert examples(tmp_path)["a+b"] == examples(own)["merged"]


def test_only_what_changed_is_scored_again(models: Path, tmp_path: Path) -> None:
    subsets = all_subsets(["a", "b"])
    assert score(models, tmp_path, candidates=subsets[:2]).scored_now == 2
    assert score(models, tmp_path).scored_now == 1
    again = score(models, tmp_path)
    assert (again.scored_now, again.mode, again.why) == (0, "none", "every score was there already")
    other = tmp_path / "text.txt"
    other.write_text("Another text, with another content.")
    assert score(models, tmp_path, tasks=[f"lm:{other}"]).scored_now == 3, "another content"
    assert score(models, tmp_path, options=TaskOptions(stride=3)).scored_now == 3, "other windows"
    write_llama(tmp_path / "b", seed=9, noise=0.05, dtype=torch.bfloat16)
    report = m2m.score(
        models / "base", [models / "a", tmp_path / "b"], tasks=[f"lm:{other}"], context=16,
        out=tmp_path / "scores.csv",
    )  # fmt: skip
    assert report.scored_now == 3, "another expert under the same name"


def test_nothing_of_a_name_a_size_or_a_time_brings_an_old_score_back(models: Path, tmp_path: Path) -> None:
    copied = tmp_path / "b"
    write_llama(copied, seed=2, noise=0.05, dtype=torch.bfloat16)
    arguments = {"tasks": [f"lm:{models / 'text.txt'}"], "context": 16, "out": tmp_path / "scores.csv"}
    assert m2m.score(models / "base", [copied], **arguments).scored_now == 1
    before = examples(tmp_path)["b"]
    weights = copied / "model.safetensors"
    times, content = weights.stat(), bytearray(weights.read_bytes())
    content[-2] ^= 0x40  # the last number's fraction
    with weights.open("r+b") as file:  # in place: the same inode
        file.write(content)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert m2m.score(models / "base", [copied], **arguments).scored_now == 1
    with ScoreTable(tmp_path / "scores.sqlite") as table:
        found = [row.examples.tolist() for row in table.rows(metric="loss")]
    assert len(found) == 2
    assert before in found
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("experts", "said"),
    [
        (["a", "b/../a"], "experts of one name"),
        ({"../a": "a"}, "expert name '../a' begins with"),
        ({"a+b": "a"}, r"expert name 'a\+b' has"),
        ({"A": "a", "a": "b"}, "'A' and 'a' differ in case"),
    ],
)
def test_names_that_cannot_be_used_leave_nothing(
    models: Path, tmp_path: Path, experts: Any, said: str
) -> None:
    named = {name: models / path for name, path in experts.items()} if isinstance(experts, dict) else None
    with pytest.raises(ConfigError, match=said):
        m2m.score(
            models / "base", named or [models / path for path in experts],
            tasks=[f"lm:{models / 'text.txt'}"], context=16, out=tmp_path / "scores.csv",
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_model_that_m2m_wrote_is_held_against_its_manifest(models: Path, tmp_path: Path) -> None:
    written = save(Checkpoint(models / "b").state(), tmp_path / "b", side_files_from=models / "b")
    arguments = {"tasks": [f"lm:{models / 'text.txt'}"], "context": 16, "out": tmp_path / "scores.csv"}
    assert m2m.score(models / "base", [written], **arguments).scored_now == 1
    weights, before = written / "model.safetensors", (tmp_path / "scores.csv").read_bytes()
    content = bytearray(weights.read_bytes())
    content[-2] ^= 0x40
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"b/model\.safetensors is not what m2m wrote there"):
        m2m.score(models / "base", [written], **arguments)
    assert (tmp_path / "scores.csv").read_bytes() == before
    (written / "manifest.json").write_text('{"name": "what another program keeps under that name"}')
    assert m2m.score(models / "base", [written], **arguments).scored_now == 1


CHANGER = """
import os
from pathlib import Path

METRICS = {{"value": True}}

def change(model):
    path = Path({path!r})
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(content)
    return {{"value": 1.0}}
"""


def test_a_file_that_changes_while_it_is_scored_spoils_its_scores(models: Path, tmp_path: Path) -> None:
    write_llama(tmp_path / "b", seed=2, noise=0.05, dtype=torch.bfloat16)
    weights = tmp_path / "b" / "model.safetensors"
    (tmp_path / "task.py").write_text(CHANGER.format(path=str(weights)))
    with pytest.raises(CheckpointError, match=r"candidate b: .*model\.safetensors: changed while it was"):
        m2m.score(
            models / "base", [tmp_path / "b"], tasks=[f"{tmp_path / 'task.py'}:change"],
            out=tmp_path / "scores.csv",
        )  # fmt: skip
    with ScoreTable(tmp_path / "scores.sqlite") as table:
        assert not table.rows()


CUTTER = """
import os

METRICS = {{"value": True}}

def change(model):
    os.truncate({path!r}, 5000)
    return {{"value": 1.0}}
"""


def test_a_file_that_is_cut_short_while_it_is_scored_ends_with_a_word(models: Path, tmp_path: Path) -> None:
    for name in "bc":
        write_llama(tmp_path / name, seed=2, noise=0.05, dtype=torch.bfloat16)
    weights = tmp_path / "b" / "model.safetensors"
    (tmp_path / "task.py").write_text(CUTTER.format(path=str(weights)))
    with pytest.raises(CheckpointError, match=r"b/model\.safetensors: changed while it was used"):
        m2m.score(
            models / "base", [tmp_path / "b", tmp_path / "c"], tasks=[f"{tmp_path / 'task.py'}:change"],
            out=tmp_path / "scores.csv", mode="resident",
        )  # fmt: skip
    with ScoreTable(tmp_path / "scores.sqlite") as table:
        assert not table.rows()


def test_bytes_that_cannot_be_read_any_more_are_told(tmp_path: Path) -> None:
    write_llama(tmp_path / "b", seed=2, noise=0.05, dtype=torch.bfloat16)
    checkpoint = Checkpoint(tmp_path / "b")
    state = mapped_state(checkpoint)
    check_mapped()
    os.truncate(checkpoint.files[0], 5000)
    assert float(sum(tensor.double().sum() for tensor in state.values())) != 0
    with pytest.raises(CheckpointError, match=r"b/model\.safetensors: cannot be read any more"):
        check_mapped()
    check_mapped()
    with pytest.raises(CheckpointError, match=r"b/model\.safetensors: shrank: tensor .* is cut off"):
        mapped_state(checkpoint)


def test_mapped_files_hold_no_descriptors(tmp_path: Path) -> None:
    write_llama(tmp_path / "b", seed=2, noise=0.05, dtype=torch.bfloat16)
    before = len(os.listdir("/proc/self/fd"))
    state = mapped_state(Checkpoint(tmp_path / "b"))
    assert len(os.listdir("/proc/self/fd")) == before
    assert all(
        torch.equal(state[name], tensor) for name, tensor in Checkpoint(tmp_path / "b").state().items()
    )


def test_a_task_that_is_new_is_all_that_is_scored(models: Path, tmp_path: Path) -> None:
    first, second = f"lm:{models / 'text.txt'}", f"choice:{tmp_path / 'q.jsonl'}"
    (tmp_path / "q.jsonl").write_text('{"question": "1+1=", "choices": ["2", "3"], "answer": 0}')
    few = score(models, tmp_path)
    both = score(models, tmp_path, tasks=[first, second])
    assert (few.scored_now, both.scored_now) == (3, 3)
    assert both.examples == 3, "one question a candidate, no text"


def test_wrong_input_is_named_and_leaves_nothing(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is nothing to score on"):
        score(models, tmp_path, tasks=[])
    with pytest.raises(
        MixtureError, match=r"candidate a\+c is over \('a', 'c'\), the experts are \['a', 'b'\]"
    ):
        score(models, tmp_path, candidates=[Mixture.subset("ac", "ac")])
    with pytest.raises(ConfigError, match=r"mode must be one of .*, got 'swift'"):
        score(models, tmp_path, mode="swift")
    with pytest.raises(ConfigError, match="not an amount of memory"):
        score(models, tmp_path, memory="much")
    (tmp_path / "short.txt").write_text("")
    with pytest.raises(DataError, match="too short to predict"):
        score(models, tmp_path, tasks=[f"lm:{tmp_path / 'short.txt'}"])
    float32 = write_llama(tmp_path / "float32", seed=1)
    single = float32 / "model.safetensors"
    with pytest.raises(ConfigError, match="is no Hugging Face folder"):
        m2m.score(single, [single], tasks=[f"lm:{models / 'text.txt'}"], out=tmp_path / "s.csv")
    assert not list(tmp_path.glob("s*.csv"))
    assert not list(tmp_path.glob("*.sqlite*"))


def test_values_are_finite_and_differ(models: Path, tmp_path: Path) -> None:
    score(models, tmp_path)
    values = np.array(list(examples(tmp_path).values()))
    assert np.isfinite(values).all()
    assert len(np.unique(values.mean(axis=1))) == 3


@pytest.mark.parametrize("mode", ["streamed", "stacked"])
def test_every_mode_gives_the_scores_of_merging_first(models: Path, tmp_path: Path, mode: str) -> None:
    score(models, tmp_path, mode="resident")
    other = tmp_path / "other"
    other.mkdir()
    report = score(models, other, mode=mode)
    wanted, got = examples(tmp_path), examples(other)
    if mode == "streamed":
        assert (report.mode, got) == (mode, wanted)
        assert (report.passes, report.bytes_read) == (1, size_of(models, "ab"))
    else:  # bfloat16 activations of two layers, summed in another order: a few of their roundings of 2⁻⁸
        for name, losses in wanted.items():
            np.testing.assert_allclose(got[name], losses, rtol=16 * 2.0**-8)


def test_what_does_not_fit_is_streamed_or_refused_and_finished_scores_stay(
    models: Path, tmp_path: Path
) -> None:
    score(models, tmp_path)
    size = (models / "base" / "model.safetensors").stat().st_size
    with pytest.raises(InputError, match="is too small for the block of"):  # streaming was tried
        score(models, tmp_path, memory=4 * size, candidates=[Mixture.normalised({"a": 1, "b": 2})])
    assert len(examples(tmp_path)) == 3


def test_many_small_models_are_stacked(models: Path, tmp_path: Path) -> None:
    shares = [Mixture.normalised({"a": at, "b": 9 - at}) for at in range(10)]
    report = score(models, tmp_path, candidates=shares)
    assert report.scored_now == 10
    assert "stacks pay up to" in report.why or "model would run in a loop" in report.why


@pytest.mark.parametrize("mode", ["resident", "streamed"])
def test_a_configuration_that_ties_two_tensors_which_differ(models: Path, tmp_path: Path, mode: str) -> None:
    twisted = m2m.Checkpoint(models / "a").state()
    twisted["lm_head.weight"] = twisted["model.embed_tokens.weight"] + 1
    save(twisted, tmp_path / "twisted")
    shutil.copy(models / "a" / "config.json", tmp_path / "twisted")
    with pytest.raises(CheckpointError, match="are both stored and differ"):
        m2m.score(
            models / "base",
            [tmp_path / "twisted", models / "b"],
            tasks=[f"lm:{models / 'text.txt'}"],
            out=tmp_path / "scores.csv",
            mode=mode,
        )


def test_one_checkpoint_is_no_two_experts(models: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(models / "a")
    with pytest.raises(
        ConfigError, match=r"experts 'a' and 'link' are the same checkpoint .*: its weight would"
    ):
        m2m.score(
            models / "base",
            {"a": models / "a", "link": tmp_path / "link"},
            tasks=[f"lm:{models / 'text.txt'}"],
            out=tmp_path / "scores.csv",
        )


def test_copies_are_scored_with_a_word(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(models / "a", tmp_path / "copy")
    shutil.copytree(models / "base", tmp_path / "untrained")
    experts = {"a": models / "a", "copy": tmp_path / "copy", "untrained": tmp_path / "untrained"}
    m2m.score(
        models / "base",
        experts,
        [Mixture.subset([*experts], ["a"])],
        tasks=[f"lm:{models / 'text.txt'}"],
        context=16,
        out=tmp_path / "scores.csv",
    )
    assert "expert copy has the same weights as a" in caplog.text
    assert "expert untrained has the same weights as the base model" in caplog.text
