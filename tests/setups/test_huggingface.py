"""A Hugging Face causal LM as base model: a tiny Llama and a byte-level tokenizer, made here."""

import pytest
import torch
from helpers.hugging_face_folders import write_llama

from m2m import setups
from m2m.errors import ConfigError
from m2m.setups.protocol import load_state, trainable

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("huggingface")
    write_llama(folder / "llama")
    for name in ("one", "two", "goal"):
        for number in range(12):
            (folder / f"{name}{number}.txt").write_text(f"{name} {number} and {number * 7919} more. " * 6)
    return folder


@pytest.fixture
def spec():
    return {
        "kind": "language",
        "model": "llama",
        "base": {"context": 24, "trainable": [r"layers\.1\."]},
        "datasets": {name: {"files": f"{name}*.txt"} for name in ("one", "two")},
        "targets": {"goal": {"files": "goal*.txt", "validation": 8, "test": 8}},
    }


def test_loss_is_the_models_own(spec, root):
    setup = setups.load(spec, root, root / "cache")
    model = load_state(setup.build(), setup.base_state(root / "cache"))
    tokens = setup.datasets["one"].tensors[0][:2]
    assert tokens.shape == (2, 25)
    with torch.no_grad():
        got = setup.loss(model, (tokens,)).mean()
        own = model(input_ids=tokens.long(), labels=tokens.long()).loss
    # The same 48 float32 losses averaged in another order: γ_48 of the mean, and a rounding each.
    torch.testing.assert_close(got, own, rtol=64 * 2.0**-24, atol=0)
    assert setup.embed(model, (tokens,)).shape == (2, 16)


def test_documents_end_with_the_end_token_and_decode_to_their_text(spec, root):
    setup = setups.load(spec, root, root / "cache")
    model = setup.language_model
    tokens = model.encode(["café", "b"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / "llama")
    assert tokens[-1] == 256
    assert tokenizer.decode(tokens.tolist()) == "café<end>b<end>"


def test_only_the_named_parameters_are_trainable_and_ties_stay_tied(spec, root):
    model = setups.load(spec, root, root / "cache").build()
    names = list(trainable(model))
    assert names
    assert all(name.startswith("model.layers.1.") for name in names)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_training_moves_the_trainable_part_only(spec, root):
    setup = setups.load(spec, root, root / "cache")
    model, base = setup.build(), setup.base_state(root / "cache")
    optimizer = torch.optim.SGD(trainable(model).values(), lr=0.1)
    setup.loss(model, setup.datasets["one"].take(torch.arange(4))).mean().backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, base[name])}
    assert moved
    assert moved <= set(trainable(model))


def test_the_version_follows_the_options_and_the_files(spec, root):
    before = setups.load(spec, root, root / "cache").version
    assert setups.load(spec, root, root / "cache").version == before
    spec["base"]["trainable"] = []
    assert setups.load(spec, root, root / "cache").version != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "gone"}, r"its id on the hub \(org/name\).* has no config.json"),
        ({"model": "SmolLM2"}, r"has no config.json \(did you mean 'smollm2-135m-instruct'\?\)"),
        ({"base": {"steps": 3}}, "unknown key 'steps'"),
        ({"base": {"context": 0}}, "`context` must be a whole number of at least 1"),
        ({"base": {"trainable": "layers"}}, "`trainable` must be a list"),
    ],
)
def test_a_bad_table_is_one_clear_error(spec, root, change, message):
    with pytest.raises(ConfigError, match=message):
        setups.load({**spec, **change}, root, root / "cache")


def test_a_pattern_that_matches_nothing_is_an_error(spec, root):
    spec["base"]["trainable"] = ["no_such_layer"]
    with pytest.raises(ConfigError, match=r"\['no_such_layer'\] matches no parameter"):
        setups.load(spec, root, root / "cache").build()
