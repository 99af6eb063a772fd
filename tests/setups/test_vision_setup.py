import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from m2m.errors import FitError
from m2m.setups import vision_setup
from m2m.setups.efficientnet import EfficientNetTrunk
from m2m.setups.protocol import Target, load_state, trainable
from m2m.setups.vision_images import SPACES, LabelledImages
from m2m.setups.vision_setup import OFFSETS, PENALTY, TOLERANCE, VisionSetup, as_examples, fit_head, joined


def random_base():
    torch.manual_seed(0)
    return EfficientNetTrunk(2).state_dict()


def examples(space, count=12, seed=0):
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=draw)
    labels = torch.randint(len(SPACES[space]), (count,), generator=draw)
    return as_examples(LabelledImages(images, labels), space)


def make(cache, seed=0, blocks=2):
    return VisionSetup(
        datasets={"mnist": examples("digits", seed=seed), "mate": examples("context", seed=seed + 1)},
        targets={
            "gnome": Target(examples("context", 5, seed=seed + 2), examples("context", 6, seed=seed + 3))
        },
        blocks=blocks,
        read_base=random_base,
        base_key="random",
        cache=cache,
    )


@pytest.fixture
def setup(tmp_path):
    return make(tmp_path)


@pytest.fixture
def model(setup, tmp_path):
    return load_state(setup.build(), setup.base_state(tmp_path))


@pytest.fixture
def batch(setup):
    return joined(list(setup.datasets.values())).tensors


def test_all_of_the_state_is_trained_and_heads_are_no_part_of_it(setup, model, tmp_path):
    assert list(trainable(model)) == list(setup.base_state(tmp_path)) == list(model.state_dict())
    assert all(name.startswith("trunk.") for name in model.state_dict())


def test_loss_is_cross_entropy_within_the_label_space(setup, model, batch):
    model.double()
    images, classes, spaces = batch
    logits = model(images)
    for number, (space, names) in enumerate(SPACES.items()):
        rows, first = spaces == number, OFFSETS[space]
        own = logits[rows, first : first + len(names)]
        wanted = F.cross_entropy(own, classes[rows] - first, reduction="none")
        # Both are logsumexp − logit; K terms and a handful of roundings of numbers this large in float64.
        bound = 2.0**-53 * (len(names) + 8) * (1 + logits.abs().max())
        assert (setup.loss(model, batch)[rows] - wanted).abs().le(bound).all()


def test_score_has_a_value_for_each_example_and_agrees_with_the_loss(setup, model, batch):
    with torch.no_grad():
        score = setup.judge(model(**setup.inputs(batch)), batch)
        assert list(score) == list(setup.metrics) == ["accuracy", "loss"]
        assert torch.equal(score["loss"], setup.loss(model, batch))
    # A class of its own space can never lose to one of another space, however likely that one looks.
    model.head_bias[OFFSETS["fashion"] : OFFSETS["context"]] = 1e6
    with torch.no_grad():
        again = setup.judge(model(**setup.inputs(batch)), batch)
    assert torch.equal(again["accuracy"], score["accuracy"])


def test_every_parameter_gets_a_finite_gradient_from_a_mixed_batch(setup, model, batch):
    setup.loss(model, batch).mean().backward()
    for name, parameter in trainable(model).items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_embedding_is_the_pooled_trunk(setup, model, batch):
    with torch.no_grad():
        embedded = setup.embed(model, batch)
        logits = F.linear(embedded, model.head_weight, model.head_bias)
        assert torch.equal(logits, model(batch[0]))
    assert embedded.shape == (24, model.trunk.features)


def test_version_is_the_content(tmp_path):
    version = make(tmp_path).version
    assert make(tmp_path / "elsewhere").version == version
    assert make(tmp_path, seed=1).version != version
    assert make(tmp_path, blocks=3).version != version
    changed = make(tmp_path)
    changed.targets["gnome"].test.tensors[0][-1, -1, -1, -1] ^= 1
    again = VisionSetup(changed.datasets, changed.targets, 2, random_base, "random", tmp_path)
    assert again.version != version


def test_heads_are_fitted_once_and_kept(tmp_path):
    fitted = make(tmp_path).build()
    (path,) = (tmp_path / "vision").iterdir()
    assert path.name == f"head-{make(tmp_path).version}.pt"

    def unreadable():
        raise AssertionError("the base was read again")

    kept = make(tmp_path)
    kept._read_base = unreadable
    assert torch.equal(kept.build().head_weight, fitted.head_weight)
    assert torch.equal(kept.build().head_bias, fitted.head_bias)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), count=st.integers(3, 60), scale=st.floats(1e-3, 1e3))
def test_fitted_head_is_the_minimum(seed, count, scale):
    """A strictly convex objective has one minimum: where the gradient on standardised features is zero."""
    draw = torch.Generator().manual_seed(seed)
    features = scale * (torch.randn(count, 5, generator=draw) + 3)
    features[:, 4] = scale  # a dead feature
    labels = torch.randint(3, (count,), generator=draw)
    weight, bias = (tensor.double() for tensor in fit_head(features, labels, 3))
    raw = features.double()
    spread = raw.std(0, correction=0)
    spread[4] = 1
    residual = (raw @ weight.T + bias).softmax(1) - F.one_hot(labels, 3)
    gradient = residual.T @ (raw - raw.mean(0)) / spread / count + PENALTY * weight * spread
    # What rounding weight and bias to float32 does to a logit, and so to the gradient's means.
    rounding = (
        2.0**-24
        * float((raw.abs() @ weight.abs().T + bias.abs()).max())
        * float(((raw - raw.mean(0)) / spread).abs().max())
    )
    assert gradient.abs().max() <= TOLERANCE + 2 * rounding


@pytest.mark.parametrize("wrong", ["too few steps", "no numbers"])
def test_a_head_that_is_not_at_its_minimum_is_refused(wrong, monkeypatch):
    """Every expert shares it: where an optimiser happened to stop is no head."""
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 3
    if wrong == "too few steps":
        monkeypatch.setattr(vision_setup, "ITERATIONS", 1)
    else:
        features[7, 2] = torch.nan
    with pytest.raises(FitError, match="head of 3 classes cannot be fitted to the features of 40 images"):
        fit_head(features, labels, 3)


def test_a_head_goes_on_where_its_iterations_ended(monkeypatch):
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 3
    at_once = fit_head(features, labels, 3)
    monkeypatch.setattr(vision_setup, "ITERATIONS", 6)
    monkeypatch.setattr(vision_setup, "ROUNDS", 20)
    for mine, other in zip(fit_head(features, labels, 3), at_once, strict=True):
        # Within the gradient's tolerance over the penalty's curvature: strong convexity.
        assert (mine - other).norm() <= 2 * TOLERANCE * 18**0.5 / PENALTY + 1e-6 * other.norm()
