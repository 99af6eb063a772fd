"""A cached trunk: the same losses, gradients and scores as the whole model, from its last blocks alone."""

import json

import numpy as np
import pytest
import torch
from helpers.hugging_face_folders import ROUNDING, write_llama, write_tokenizer

from m2m import setups
from m2m.errors import ConfigError, DataError
from m2m.mixture import Mixture
from m2m.scoring import TargetScorer, score_model
from m2m.setups import kept_activations
from m2m.setups.protocol import load_state, trainable
from m2m.training import TrainRecipe, fine_tune
from m2m.training.recipe import LoraOptions

pytest.importorskip("transformers", reason="needs the extra `huggingface`")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trunk")
    write_llama(folder / "llama", num_hidden_layers=4)
    for name in ("one", "two", "goal"):
        rows = [{"prompt": f"{name} {n}?", "completion": f" {n * 7919} {'so ' * (n % 5)}"} for n in range(24)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        write_prose(folder, name)
    return folder


def write_prose(folder, name):
    for number in range(12):
        text = f"{name} {number} and {number * 7919}, words that are learnt as they are. " * 6
        (folder / f"{name}{number}.txt").write_text(text)


def setup_of(root, *, cached, files="{}.jsonl", base=None):
    options = {"context": 24, "trainable": [r"layers\.3\.", r"model\.norm"], "cache_trunk": cached}
    spec = {
        "kind": "language",
        "model": "llama",
        "base": options | (base or {}),
        "datasets": {name: {"files": files.format(name)} for name in ("one", "two")},
        "targets": {"goal": {"files": files.format("goal"), "validation": 4, "test": 4}},
    }
    return setups.load(spec, root, root / "cache")


def model_of(setup, root):
    return load_state(setup.build(), setup.base_state(root / "cache"))


def both(root, **options):
    for cached in (True, False):
        setup = setup_of(root, cached=cached, **options)
        yield setup, model_of(setup, root)


def test_losses_and_gradients_are_the_whole_models(root):
    losses, gradients = [], []
    for setup, model in both(root):
        loss = setup.loss(model, setup.datasets["one"].take(torch.tensor([3, 20, 7])))
        loss.mean().backward()
        losses.append(loss.detach())
        gradients.append({name: parameter.grad for name, parameter in trainable(model).items()})
    torch.testing.assert_close(*losses, rtol=ROUNDING, atol=0)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, rtol=0, atol=ROUNDING * gradient.norm())


def test_the_same_windows_side_by_side_give_the_same_bits(root):
    # The first batch that the trunk ran on: 16 windows of text, all of one length.
    (cached, top), (plain, whole) = both(root, files="{}*.txt")
    windows = cached.datasets["one"].take(torch.arange(16))
    with torch.no_grad():
        assert torch.equal(cached.loss(top, windows), plain.loss(whole, windows))


def test_training_and_scoring_end_where_the_whole_model_ends(root):
    recipe = TrainRecipe(steps=4, batch=4, learning_rate=1e-3, optimizer="sgd")
    states, scores = [], []
    for setup, model in both(root):
        base = setup.base_state(root / "cache")
        state = fine_tune(setup, base, Mixture.subset(["one", "two"], ["one", "two"]), recipe, seed=0)
        states.append({name: state[name] for name in trainable(model)})
        scores.append(score_model(load_state(model, state), [TargetScorer(setup, "goal")])[0].mean("loss"))
    assert set(states[0]) == set(setup_of(root, cached=True).base_state(root / "cache"))
    for name, tensor in states[1].items():
        # Four steps, each off by no more than the rate times the rounding of its gradient.
        torch.testing.assert_close(states[0][name], tensor, rtol=ROUNDING, atol=4 * 1e-3 * ROUNDING)
    assert scores[0] == pytest.approx(scores[1], rel=2 * ROUNDING)


def test_an_adapter_of_the_top_is_that_of_the_whole(root):
    pytest.importorskip("peft", reason="needs the extra `lora`")
    mixture = Mixture.subset(["one", "two"], ["two"])
    recipe = TrainRecipe(steps=3, batch=4, learning_rate=1e-2, adapter="lora", lora=LoraOptions(r=2))
    states, base = [], setup_of(root, cached=True).base_state(root / "cache")
    for setup, _ in both(root):
        state = fine_tune(setup, setup.base_state(root / "cache"), mixture, recipe, seed=0)
        states.append({name: state[name] for name in base})
    name = "model.layers.3.mlp.down_proj.weight"
    assert not torch.equal(states[0][name], base[name])
    # AdamW's steps are as long whatever the gradient, so a rounding moves a weight by little of a step.
    torch.testing.assert_close(states[0][name], states[1][name], rtol=ROUNDING, atol=3 * 1e-2 * ROUNDING)


def test_the_trunk_runs_once(root, monkeypatch):
    def inputs(setup):
        splits = [*setup.datasets.values(), setup.targets["goal"].validation, setup.targets["goal"].test]
        for examples in splits:
            lengths = examples.tensors[1].sum(1)  # batches of one, and of the shortest and the longest
            for picked in [*torch.arange(len(examples))[:, None], lengths.argsort()[[0, -1]]]:
                yield setup.inputs(examples.take(picked))["inputs_embeds"]

    first = list(inputs(setup_of(root, cached=True)))
    monkeypatch.setattr(kept_activations.Trunk, "run", None)  # whoever calls it now fails
    again = setup_of(root, cached=True)
    assert all(map(torch.equal, inputs(again), first))
    assert not again.language_model._kept._others


def test_windows_that_were_not_foreseen_run_when_they_come_and_are_kept(root, monkeypatch):
    setup = setup_of(root, cached=True)
    model, whole = model_of(setup, root), model_of(setup_of(root, cached=False), root)
    tokens = torch.arange(20)[None] * 3 % 256
    with torch.no_grad():
        got = model(input_ids=tokens)
        wanted = whole(input_ids=tokens).logits
        torch.testing.assert_close(got, wanted, rtol=0, atol=ROUNDING * float(wanted.norm()))
        monkeypatch.setattr(kept_activations.Trunk, "run", None)  # whoever calls it now fails
        assert torch.equal(model(input_ids=tokens), got)
        assert torch.equal(model(**setup.language_model.inputs(tokens)), got)


def test_models_share_what_is_frozen_and_nothing_else(root):
    setup = setup_of(root, cached=True)
    one, two = setup.build(), setup.build()
    assert one.lm_head.weight.data_ptr() == two.lm_head.weight.data_ptr()
    for name, parameter in trainable(one).items():
        assert parameter.data_ptr() != trainable(two)[name].data_ptr()
        with torch.no_grad():
            parameter.zero_()
    assert all(torch.equal(value, setup.base_state(root)[name]) for name, value in two.state_dict().items())


def test_memory_for_other_windows_is_bounded(root, monkeypatch):
    monkeypatch.setattr(kept_activations, "_MOST_BYTES", 20 * 16 * 4)
    setup = setup_of(root, cached=True)
    model = model_of(setup, root)
    one, two = (torch.arange(20)[None] * step % 256 for step in (3, 5))
    with torch.no_grad():
        first = [model(input_ids=tokens) for tokens in (one, two)]
        assert len(setup.language_model._kept._others) == 1
        assert all(map(torch.equal, first, [model(input_ids=tokens) for tokens in (one, two)]))


def test_embeddings_are_the_whole_models(root):
    (cached, top), (plain, whole) = both(root)
    batch = plain.datasets["one"].take(torch.arange(3))
    with torch.no_grad():
        got, wanted = cached.embed(top, batch), plain.embed(whole, batch)
    torch.testing.assert_close(got, wanted, rtol=0, atol=ROUNDING * float(wanted.norm()))


def test_the_version_tells_a_cached_trunk_apart_and_not_the_data(root):
    cached, plain = setup_of(root, cached=True), setup_of(root, cached=False)
    assert cached.version != plain.version
    assert cached.version == setup_of(root, cached=True).version


@pytest.mark.parametrize(
    ("trainable_", "what"),
    [
        ([], "the embeddings"),
        ([r"layers\."], "block 0"),
        (["norm$", "layers.0"], "block 0"),
        (["model.norm"], "no block"),
    ],
)
def test_what_has_no_trunk_is_said(root, trainable_, what):
    setup = setup_of(root, cached=True, base={"trainable": trainable_})
    with pytest.raises(ConfigError, match=rf"`trainable` names {what}.*trainable = \['layers"):
        setup.build()


def test_a_model_that_does_more_around_its_blocks_is_refused(tmp_path):
    import transformers

    write_tokenizer(tmp_path / "llama")
    config = transformers.GPT2Config(
        vocab_size=257, n_embd=16, n_layer=2, n_head=2, n_positions=32, eos_token_id=256, bos_token_id=256
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "llama")
    for name in ("one", "two", "goal"):
        write_prose(tmp_path, name)
    setup = setup_of(tmp_path, cached=True, files="{}*.txt", base={"trainable": [r"h\.1\."]})
    with pytest.raises(ConfigError, match="GPT2LMHeadModel does more around its blocks"):
        setup.inputs(setup.datasets["one"].take(torch.arange(2)))


def test_a_disk_that_is_too_small_is_said_before_anything_runs(root, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_activations.shutil, "disk_usage", lambda folder: type("", (), {"free": 10})())
    setup = setup_of(root, cached=True, base={"context": 23})
    with pytest.raises(DataError, match=r"needs .* and 10 B are free: lower `limit`"):
        setup.inputs(setup.datasets["one"].take(torch.arange(2)))


def test_a_damaged_file_is_named(root):
    setup = setup_of(root, cached=True)
    setup.inputs(setup.datasets["one"].take(torch.arange(2)))
    whole = {file: file.read_bytes() for file in (root / "cache" / "trunks").glob("*.npy")}
    for file in whole:
        np.save(file, np.zeros(3, np.float32))
    with pytest.raises(DataError, match="delete it: it is made again"):
        setup_of(root, cached=True).inputs(setup.datasets["one"].take(torch.arange(2)))
    for file, content in whole.items():
        file.write_bytes(content)
