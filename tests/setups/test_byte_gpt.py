"""The byte GPT: causal, deterministic, pretrained once."""

import pytest
import torch

from m2m.errors import ConfigError
from m2m.setups import byte_gpt
from m2m.setups.byte_gpt import ByteGPT, Pretraining, Shape

TINY = Shape(layers=2, width=16, heads=2, context=12)
BASE = {"layers": 1, "width": 16, "heads": 2, "context": 12, "steps": 30, "batch": 4}


def model() -> ByteGPT:
    made = ByteGPT(TINY)
    made.initialise(3)
    return made


@pytest.fixture
def text(tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat on the mat; " * 40)
    return {"text": {"a": {"files": "a.txt"}}}


def make(table, tmp_path):
    return byte_gpt.from_table(table, tmp_path, tmp_path, "[setup.base]")


def test_a_position_sees_only_itself_and_what_came_before():
    tokens = torch.randint(256, (1, 12), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 7] = (changed[0, 7] + 1) % 256
    with torch.no_grad():
        before, after = model()(tokens), model()(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=0)
    assert all(not torch.equal(before[:, at], after[:, at]) for at in range(7, 12))


def test_the_default_shape_has_the_size_its_docstring_says():
    assert sum(p.numel() for p in ByteGPT(Shape()).parameters()) == 875_264


def test_every_weight_is_drawn_from_the_seed():
    one, two, other = model(), model(), ByteGPT(TINY)
    other.initialise(4)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) == (name.endswith("bias") or "norm" in name), name


def test_pretraining_is_deterministic_and_cached(tmp_path, text):
    made, told = make({**BASE, **text}, tmp_path), []
    state = made.base_state(tmp_path, lambda done, total, what: told.append((done, total)))
    assert told == [(step, 30) for step in range(1, 31)]
    again = make({**BASE, **text}, tmp_path).base_state(tmp_path, lambda *_: pytest.fail("is cached"))
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert [path.name for path in (tmp_path / "base").iterdir()] == [f"byte-gpt-{made.version}.pt"]
    fresh = made.base_state(tmp_path / "elsewhere")
    assert all(torch.equal(state[name], fresh[name]) for name in state)


@pytest.mark.parametrize("change", [{"steps": 31}, {"seed": 1}, {"learning_rate": 1e-3}, {"width": 32}])
def test_the_version_follows_every_option(tmp_path, text, change):
    assert make({**BASE, **text}, tmp_path).version != make({**BASE, **text, **change}, tmp_path).version


def test_the_version_follows_the_text(tmp_path, text):
    before = make({**BASE, **text}, tmp_path).version
    (tmp_path / "a.txt").write_text("the cat sat on the hat; " * 40)
    assert make({**BASE, **text}, tmp_path).version != before


def test_the_learning_rate_warms_up_and_decays():
    options = Pretraining(steps=100, learning_rate=1.0)
    rates = [options.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": 2}, r"unknown key 'layer' \(did you mean 'layers'\?\)"),
        ({"layers": 0}, "`layers` must be a positive int, got 0"),
        ({"steps": 2.5}, "`steps` must be a positive int"),
        ({"learning_rate": -1.0}, "`learning_rate` must be a positive float"),
        ({"width": 15}, "`width` 15 must be a multiple of `heads` 2"),
        ({"context": 2000}, "pretraining text has 960 bytes, wanted more than 2000"),
        ({"text": {}}, r"wanted tables \[setup.base.text.NAME\]"),
        ({"text": {"a": {"file": "a.txt"}}}, r"\[setup.base.text.a\]: unknown key 'file'"),
    ],
)
def test_a_bad_table_is_one_clear_error(tmp_path, text, change, message):
    with pytest.raises(ConfigError, match=message):
        make({**BASE, **text, **change}, tmp_path)
