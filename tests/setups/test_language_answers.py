"""Questions with answers as datasets and targets: one a row, and only its answers are learnt."""

import json
from dataclasses import replace

import pytest
import torch
from helpers.chat_folders import CHATML, write_chat_llama

from m2m import setups
from m2m.errors import ConfigError, DataError
from m2m.mixture import Mixture
from m2m.setups.protocol import contents_of, load_state
from m2m.setups.rows.collection import Collection
from m2m.setups.rows.contamination import contamination_of
from m2m.setups.rows.overlap import Judged
from m2m.training import TrainRecipe, fine_tune

pytest.importorskip("transformers", reason="needs the extra `huggingface`")


def chats(topic: str, count: int, words: int = 3) -> list[dict]:
    told = lambda n: f"{topic} {n * 7919 % 1000} " * (1 + n % words)  # noqa: E731
    return [
        {
            "messages": [
                {"role": "user", "content": f"{topic} {n}?"},
                {"role": "assistant", "content": told(n)},
            ]
        }
        for n in range(count)
    ]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    write_chat_llama(folder / "llama")
    for name, count in (("one", 30), ("two", 20), ("goal", 24)):
        write_rows(folder / f"{name}.jsonl", chats(name, count))
    (folder / "text.txt").write_text("The capital is Paris. " * 200)
    rows = [{"prompt": f"{n} + 1 =", "completion": f" {n + 1}"} for n in range(40)]
    write_rows(folder / "sums.jsonl", rows)
    return folder


@pytest.fixture
def spec():
    return {
        "kind": "language",
        "model": "llama",
        "base": {"context": 64},
        "datasets": {name: {"files": f"{name}.jsonl"} for name in ("one", "two")},
        "targets": {"goal": {"files": "goal.jsonl"}},
    }


def load(spec, root):
    return setups.load(spec, root, root / "cache")


@pytest.fixture
def model(spec, root):
    setup = load(spec, root)
    return load_state(setup.build(), setup.base_state(root / "cache")).eval()


def test_the_loss_is_the_models_own_on_labels_of_answers_alone(spec, root, model):
    setup = load(spec, root)
    tokens, learnt = setup.datasets["one"].take(torch.arange(6))
    assert tokens.shape == learnt.shape
    with torch.no_grad():
        got = setup.loss(model, (tokens, learnt))
        labels = tokens.long().masked_fill(~learnt, -100)
        alone = [
            model(input_ids=tokens[at : at + 1].long(), labels=labels[at : at + 1]).loss for at in range(6)
        ]
    # Float32 losses of another order of sums, in a padded batch and alone.
    torch.testing.assert_close(got, torch.stack(alone), rtol=2.0**-16, atol=0)


def test_answers_are_what_is_learnt(spec, root):
    setup = load(spec, root)
    tokenizer = setup.language_model._tokenizer
    said = {row["messages"][1]["content"] + "<|im_end|>" for row in chats("one", 30)}
    tokens, learnt = setup.datasets["one"].tensors
    assert {tokenizer.decode(row[here]) for row, here in zip(tokens, learnt, strict=True)} == said


def test_neither_padding_nor_other_examples_change_an_examples_loss(spec, root, model):
    setup = load(spec, root)
    tokens, learnt = setup.datasets["one"].tensors
    lengths = learnt.int().cumsum(1).argmax(1) + 1
    short, long = int(lengths.argmin()), int(lengths.argmax())
    assert lengths[short] < lengths[long]
    noisy = tokens.clone()
    noisy[short, lengths[short] :] = 5  # whatever stands behind an answer
    with torch.no_grad():
        alone = setup.loss(model, (tokens[[short]], learnt[[short]]))
        beside = setup.loss(model, (tokens[[short, long]], learnt[[short, long]]))[:1]
        torch.testing.assert_close(alone, beside, rtol=2.0**-16, atol=0)
        assert torch.equal(beside, setup.loss(model, (noisy[[short, long]], learnt[[short, long]]))[:1])
        embedded = setup.embed(model, (tokens[[short, long]], learnt[[short, long]]))
        assert torch.equal(embedded, setup.embed(model, (noisy[[short, long]], learnt[[short, long]])))
        torch.testing.assert_close(embedded[:1], setup.embed(model, (tokens[[short]], learnt[[short]])))
    assert setup.inputs((tokens[[short]], learnt[[short]]))["input_ids"].shape == (1, lengths[short] - 1)


def test_examples_weigh_alike_however_long_their_answers_are(spec, root, model):
    setup = load(spec, root)
    batch = setup.datasets["one"].take(torch.arange(8))
    with torch.no_grad():
        single = [setup.loss(model, tuple(field[at : at + 1] for field in batch)) for at in range(8)]
        torch.testing.assert_close(
            setup.loss(model, batch).mean(), torch.cat(single).mean(), rtol=1e-5, atol=0
        )


def test_text_and_answers_mix_in_one_run_and_text_is_what_it_is_alone(spec, root, model):
    spec["datasets"]["prose"] = {"files": "text.txt"}
    spec["datasets"]["sums"] = {"files": "sums.jsonl"}
    spec["targets"]["sums"] = {"dataset": "sums"}
    mixed = load(spec, root)
    assert len({examples.tensors[0].shape[1] for examples in mixed.datasets.values()}) == 1
    spec["datasets"] = {name: {"files": "text.txt"} for name in ("prose", "same")}
    del spec["targets"]["sums"]
    alone = load(spec, root)
    windows = alone.datasets["prose"].tensors[0]
    tokens, learnt = mixed.datasets["prose"].tensors
    assert torch.equal(tokens, windows)
    assert torch.equal(learnt, torch.arange(65).expand(windows.shape) > 0)
    with torch.no_grad():
        ours, theirs = mixed.loss(model, (tokens[:3], learnt[:3])), alone.loss(model, (windows[:3],))
    torch.testing.assert_close(ours, theirs, rtol=2.0**-20, atol=0)
    recipe = TrainRecipe(steps=2, batch=8, learning_rate=1e-3)
    mixture = Mixture.subset(list(mixed.datasets), ["one", "prose", "sums"])
    base = mixed.base_state(root / "cache")
    state = fine_tune(mixed, base, mixture, recipe, seed=0)
    assert any(not torch.equal(state[name], base[name]) for name in base)


def test_answers_of_a_dataset_can_be_held_out(spec, root):
    spec["targets"]["one"] = {"dataset": "one"}
    setup = load(spec, root)
    parts = [setup.datasets["one"], setup.targets["one"].validation, setup.targets["one"].test]
    rows = [{tuple(row[here].tolist()) for row, here in zip(*part.tensors, strict=True)} for part in parts]
    assert sum(map(len, parts)) == 30
    assert not rows[0] & rows[1] | rows[0] & rows[2] | rows[1] & rows[2]


def test_the_table_of_what_was_read_counts_every_document(spec, root, tmp_path):
    rows = chats("more", 12, words=9)
    empty = {"messages": [{"role": "user", "content": "anybody?"}]}
    write_rows(tmp_path / "more.jsonl", [*rows, rows[0], rows[1], empty])
    spec["datasets"]["more"] = {"files": str(tmp_path / "more.jsonl")}
    spec["base"]["context"] = 48
    setup = load(spec, root)
    read = {part.label: part for part in setup.inventory.parts}
    assert set(read) == {"one", "two", "more", "target goal, validation", "target goal, test"}
    more, (tokens, learnt) = read["more"], setup.datasets["more"].tensors
    assert (more.documents, more.repeats, more.blanks) == (12, 2, 1)
    assert more.documents == more.examples + more.dropped
    assert more.truncated > 0
    assert more.answer_tokens == int(learnt.sum())
    lengths = learnt.int().cumsum(1).argmax(1) + 1
    assert more.tokens == int(lengths.sum())
    assert tokens.shape[1] <= 49
    assert any("more: " in note and "were cut" in note for note in setup.inventory.notes())


def test_what_is_dropped_is_counted_and_nothing_left_is_an_error(spec, root):
    spec["base"]["context"] = 48
    spec["datasets"]["one"]["truncate"] = "drop"
    whole = next(part for part in load(spec, root).inventory.parts if part.name == "one")
    assert whole.truncated == 0
    assert whole.examples + whole.dropped == 30
    assert whole.dropped > 0
    spec["base"]["context"] = 8
    with pytest.raises(
        DataError, match=r"^\[setup.datasets.one\]: none of 30 documents has an answer within .* 8"
    ):
        load(spec, root)


def test_cutting_the_start_keeps_the_answers_end(spec, root):
    spec["base"]["context"] = 8
    for table in (*spec["datasets"].values(), *spec["targets"].values()):
        table["truncate"] = "start"
    setup = load(spec, root)
    tokens, learnt = setup.datasets["one"].tensors
    assert tokens.shape == (30, 9)
    assert learnt[:, 8].all()
    assert set(tokens[:, 8].tolist()) == {setup.language_model._tokenizer.eos_token_id}


def test_a_target_that_is_trained_on_as_a_whole_is_refused(spec, root):
    spec["targets"]["goal"] = {"files": "one.jsonl"}
    with pytest.raises(
        DataError, match=r"\[setup.targets.goal\]: all \d+ validation documents .*dataset = \"one\""
    ):
        load(spec, root)
    write_rows(root / "lines.jsonl", [{"text": f"{n} and {n * 7} are numbers. " * 5} for n in range(20)])
    spec["datasets"] = {name: {"files": "lines.jsonl"} for name in ("prose", "same")}
    spec["targets"]["goal"] = {"files": "lines.jsonl", "share": [0.2, 1]}
    with pytest.raises(DataError, match=r"documents are trained on in prose, same"):
        load(spec, root)


def test_a_target_that_is_trained_on_in_part_is_noted_with_the_count(spec, root, tmp_path):
    write_rows(tmp_path / "both.jsonl", [*chats("goal", 24), *chats("one", 5)])
    spec["targets"]["goal"] = {"files": str(tmp_path / "both.jsonl")}
    setup = load(spec, root)
    splits = [Judged("goal", split, setup.compared["goal", split]()) for split in ("validation", "test")]
    found = contamination_of({"one": setup.compared["one", "train"]}, splits)
    assert sum(overlap.short for overlap in found.overlaps) == 5
    assert sum(overlap.items for overlap in found.overlaps) == 29
    assert f"…/{root.name}/one.jsonl, line " in " ".join(found.notes())


def test_an_unseen_target_leaves_out_what_datasets_train_on(spec, root, tmp_path):
    write_rows(tmp_path / "both.jsonl", [*chats("goal", 24), *chats("one", 5)])
    spec["targets"]["goal"] = {"files": str(tmp_path / "both.jsonl"), "unseen": True}
    setup, clean = load(spec, root), load(spec | {"targets": {"goal": {"files": "goal.jsonl"}}}, root)
    for split in ("validation", "test"):
        assert len(getattr(setup.targets["goal"], split)) == len(getattr(clean.targets["goal"], split))
    parts = [part for part in setup.inventory.parts if part.kind == "target"]
    assert sum(part.seen for part in parts) == 5
    assert any("documents that datasets train on were left out" in note for note in setup.inventory.notes())
    spec["targets"]["goal"] = {"files": "one.jsonl", "unseen": True}
    with pytest.raises(DataError, match=r"all \d+ validation documents are trained on in one"):
        load(spec, root)
    spec["targets"]["goal"]["unseen"] = "yes"
    with pytest.raises(ConfigError, match=r"goal\]: `unseen` must be true or false, got 'yes'"):
        load(spec, root)


def test_what_an_unseen_target_is_held_against_is_read_once(spec, root, tmp_path, monkeypatch):
    spec["targets"]["goal"] = {"files": str(tmp_path / "goal.jsonl"), "unseen": True}
    spec["datasets"]["one"] = {"files": str(tmp_path / "one.jsonl")}  # other tests read those under `root`
    narrow, narrowed = Collection.part, []
    monkeypatch.setattr(Collection, "part", lambda self, share: narrowed.append(share) or narrow(self, share))
    counts = []
    for rows in (12, 48):
        write_rows(tmp_path / "goal.jsonl", chats("goal", rows))
        write_rows(tmp_path / "one.jsonl", chats("one", rows))
        narrowed.clear()
        load(spec, root)
        counts.append(len(narrowed))
    assert counts[0] == counts[1]


def test_the_version_follows_what_is_learnt(spec, root):
    versions = {load(spec, root).version}
    spec["datasets"]["one"]["truncate"] = "start"  # nothing is cut: the same examples
    assert load(spec, root).version in versions
    spec["base"]["chat_template"] = "mine.jinja"
    (root / "mine.jinja").write_text(CHATML.replace("You are helpful.", "You are brief."))
    versions.add(load(spec, root).version)
    assert len(versions) == 2
    changed = contents_of(load(spec, root))
    setup = load(spec, root)
    fields = setup.datasets["one"].tensors
    unlearnt = replace(
        setup, datasets={**setup.datasets, "one": type(setup.datasets["one"])((fields[0], ~fields[1]))}
    )
    assert contents_of(unlearnt)["dataset one"] != changed["dataset one"]


@pytest.mark.parametrize(
    ("path", "value", "error", "message"),
    [
        (
            ("datasets", "one", "truncate"),
            "middle",
            ConfigError,
            "`truncate` must be one of end, start, drop",
        ),
        (("datasets", "one", "answers"), "first", ConfigError, "`answers` must be one of all, last"),
        (
            ("datasets", "one"),
            {"files": "text.txt", "truncate": "end"},
            ConfigError,
            "`truncate` is for answers",
        ),
        (
            ("datasets", "one"),
            {"files": ["one.jsonl", "text.txt"]},
            DataError,
            "some of its documents are text",
        ),
        (("datasets", "one", "chat"), "yes", ConfigError, "`chat` must be true or false, got 'yes'"),
        (
            ("datasets", "one"),
            {"files": "text.txt", "chat": True},
            ConfigError,
            r"\[setup.datasets.one\]: `chat` is for questions with answers, and its documents are text",
        ),
        (("targets", "goal", "test"), 999, DataError, r"\d+ test examples of 64 tokens, wanted 999"),
        (
            ("base", "chat_template"),
            "gone.jinja",
            ConfigError,
            r"cannot read a chat template, as \[setup.base\] says",
        ),
    ],
)
def test_a_bad_table_is_one_clear_error(spec, root, path, value, error, message):
    table = spec
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    with pytest.raises(error, match=message):
        load(spec, root)


def test_many_documents_are_tokenised_once(spec, root, tmp_path, monkeypatch):
    write_rows(tmp_path / "many.jsonl", chats("many", 1000))
    spec["datasets"]["many"] = {"files": str(tmp_path / "many.jsonl")}
    first = setups.load(spec, root, tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "examples").iterdir()
    before = kept.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(type(first.language_model), "answered", answered_of_few(first.language_model))
        again = setups.load(spec, root, tmp_path / "cache")
    assert kept.stat().st_mtime_ns == before
    assert again.version == first.version
    assert contents_of(again) == contents_of(first)
    assert again.inventory == first.inventory
    spec["datasets"]["many"]["answers"] = "last"
    setups.load(spec, root, tmp_path / "cache")
    assert len(list(kept.parent.iterdir())) == 2


def answered_of_few(model):
    """Tokenise as the model does, but nothing of the documents that should be kept."""
    real = type(model).answered

    def answered(self, document, which):
        assert "many" not in document.turns[0]["content"]
        return real(self, document, which)

    return answered


def test_bytes_learn_answers_too(spec, root):
    grey = {"files": "text.txt"}
    base = {
        "layers": 1,
        "width": 16,
        "heads": 2,
        "context": 48,
        "steps": 2,
        "batch": 2,
        "text": {"grey": grey},
    }
    setup = load({**spec, "model": "byte-gpt", "base": base}, root)
    tokens, learnt = setup.datasets["one"].tensors
    assert tokens.dtype == torch.uint8
    said = {row["messages"][1]["content"] + "\n" for row in chats("one", 30)}
    cut = {bytes(row[here].tolist()).decode() for row, here in zip(tokens, learnt, strict=True)}
    assert all(any(whole.startswith(part) for whole in said) for part in cut)
    model = load_state(setup.build(), setup.base_state(root / "cache"))
    assert torch.isfinite(setup.loss(model, setup.datasets["one"].take(torch.arange(4)))).all()


def test_prompts_and_completions_in_a_chat_are_conversations(spec, root):
    asked = [{"role": "user", "content": "3 + 1 ="}, {"role": "assistant", "content": " 4"}]
    write_rows(root / "asked.jsonl", [{"messages": asked}])
    write_rows(root / "plain.jsonl", [{"prompt": "3 + 1 =", "completion": " 4"}])
    spec["datasets"] = {"one": {"files": "asked.jsonl"}, "two": {"files": "plain.jsonl", "chat": True}}
    setup = load(spec, root)
    one, two = setup.datasets.values()
    assert all(map(torch.equal, one.tensors, two.tensors))
    assert setup.records("two") == [{"messages": asked}]


def test_records_are_the_documents_that_are_trained_on(spec, root):
    spec["datasets"] = {
        "one": {"files": "one.jsonl", "limit": 7},
        "sums": {"files": "sums.jsonl"},
        "text": {"files": "text.txt"},
    }
    spec["targets"] = {"sums": {"dataset": "sums", "validation": 2, "test": 2}}
    setup = load(spec, root)
    rows = [json.loads(line) for line in (root / "one.jsonl").read_text().splitlines()]
    found = setup.records("one")
    assert len(found) == len(setup.datasets["one"]) == 7
    assert all(record in rows for record in found)
    rows = [json.loads(line) for line in (root / "sums.jsonl").read_text().splitlines()]
    assert len(setup.records("sums")) == len(setup.datasets["sums"]) < len(rows), "the target's are held out"
    assert all(record in rows for record in setup.records("sums"))
    assert setup.records("text") == [{"text": (root / "text.txt").read_text()}]
    assert setup.model_folder == root / "llama"
