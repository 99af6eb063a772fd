from pathlib import Path

import pytest
import torch

from m2m import setups
from m2m.data import cache_dir
from m2m.errors import ConfigError
from m2m.pipeline.config import load as load_config
from m2m.setups.protocol import load_state
from m2m.setups.vision import DEFAULT_TARGETS, VisionOptions, from_spec, read_options
from m2m.setups.vision_images import COPY_DISTANCE

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_defaults_are_the_documented_example():
    assert read_options({"kind": "vision"}) == VisionOptions()
    assert VisionOptions().targets == DEFAULT_TARGETS


def test_targets_are_sources_or_pools_of_sources():
    assert read_options({"targets": ["tango", "mate"]}).targets == {"tango": ("tango",), "mate": ("mate",)}
    options = read_options({"targets": {"unseen": ["tango", "gnome"], "mate": ["mate"]}})
    assert options.targets == {"unseen": ("tango", "gnome"), "mate": ("mate",)}
    assert options.sources == ("mnist", "fashion", "oxygen", "mate", "tango", "gnome")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("block", 3, r"\[setup\]: unknown key 'block' \(did you mean 'blocks'\?\)"),
        ("blocks", 17, r"\[setup\] blocks: EfficientNet-Lite0 has 16 blocks, got 17"),
        ("blocks", 0, r"\[setup\] blocks must be a whole number of at least 1, got 0"),
        ("resolution", 32.0, r"\[setup\] resolution must be a whole number of at least 1, got 32\.0"),
        ("train_examples", True, r"\[setup\] train_examples must be a whole number"),
        ("datasets", "mnist", r"\[setup\] datasets: wanted a list of source names, got 'mnist'"),
        ("datasets", [], r"\[setup\] datasets: wanted a list of source names, got \[\]"),
        ("datasets", ["mnits"], r"\[setup\] datasets: no source 'mnits' \(did you mean 'mnist'\?\)"),
        ("datasets", ["mate", "mate"], r"\[setup\] datasets: a source is named twice"),
        ("targets", ["gnom"], r"\[setup\] targets: no source 'gnom' \(did you mean 'gnome'\?\)"),
        ("targets", {"icons": ["gnom"]}, r"\[setup\] targets\.icons: no source 'gnom'"),
        ("targets", {"a/b": ["gnome"]}, r"\[setup\] targets: target name 'a/b' has '/'"),
        ("targets", {}, r"\[setup\] targets: wanted a list"),
        ("datasets", ["mnist"], r"\[setup\] targets: 'adwaita' has the label space 'context', which none of"),
    ],
)
def test_a_table_that_means_nothing_is_refused(key, value, message):
    with pytest.raises(ConfigError, match=message):
        read_options({"kind": "vision", key: value})


@pytest.mark.network
def test_the_real_thing():
    """Two themes that share most of their pictures: none of the dataset's comes up in the target."""
    spec = {"kind": "vision", "datasets": ["mate"], "targets": ["gnome", "tango", "mate"]}
    setup = setups.load(spec, Path(), cache_dir())
    assert {name: len(target.test) for name, target in setup.targets.items()} == {
        "gnome": 59,
        "tango": 100,
        "mate": 86,
    }
    trained = setup.datasets["mate"].tensors[0].flatten(1).double()
    for target in setup.targets.values():
        for held_out in (target.validation, target.test):
            nearest = torch.cdist(held_out.tensors[0].flatten(1).double(), trained).min() / 3072**0.5
            assert nearest > COPY_DISTANCE
    model = load_state(setup.build(), setup.base_state(cache_dir()))
    with torch.no_grad():
        batches = setup.targets["mate"].test.batches(64)
        right = torch.cat([setup.judge(model(**setup.inputs(b)), b)["accuracy"] for b in batches])
    # Far beyond the commonest class's share: the pretrained features and the fitted heads fit together.
    assert right.mean() > 0.4
    assert from_spec(spec, Path(), cache_dir()).version == setup.version


@pytest.mark.network
def test_other_resolutions():
    spec = {"kind": "vision", "datasets": ["mate"], "targets": ["tango"], "resolution": 48, "blocks": 3}
    setup = setups.load(spec, Path(), cache_dir())
    images = setup.targets["tango"].test.tensors[0]
    assert (images.dtype, images.shape) == (torch.uint8, (100, 3, 48, 48))
    assert setup.build()(images[:2]).shape == (2, 29)


@pytest.mark.parametrize("name", ["vision_icons", "vision_icons_n6"])
def test_examples_are_configurations_that_can_run(name):
    config = load_config(EXAMPLES / f"{name}.toml")
    options = read_options(config.setup)
    assert config.run.target in options.targets
    # What the headline target is made of is never trained on.
    assert not set(options.targets[config.run.target]) & set(options.datasets)
