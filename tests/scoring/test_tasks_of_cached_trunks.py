"""Tasks on a model whose trunk is cached: what the whole model scores, from its last blocks alone."""

import json

import numpy as np
import pytest
import torch
from helpers.hugging_face_folders import ROUNDING, write_llama
from helpers.judged_runs import prompts, questions, write_harness_task, write_lines

from m2m.scoring.targets import load_targets, tokens_of
from m2m.scoring.tasks import TextLossScorer
from m2m.scoring.tasks.generation import EXACT_MATCH, GenerationScorer, Prompt
from m2m.scoring.tasks.lm_eval_harness import load_harness_tasks
from m2m.setups import kept_activations
from m2m.setups.protocol import load_state, trainable

pytest.importorskip("transformers", reason="needs the extra `huggingface`")

TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}" + (
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    write_llama(folder / "llama", num_hidden_layers=4, initializer_range=0.2)
    (folder / "chat.jinja").write_text(TEMPLATE)
    write_lines(folder / "quiz.jsonl", questions())
    write_lines(folder / "ask.jsonl", prompts())
    for name in ("one", "two"):
        rows = [{"prompt": f"{name} {n}?", "completion": f" {n * 7919}"} for n in range(8)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def targets_of(root, *, cached):
    options = {"context": 24, "trainable": [r"layers\.3\.", r"model\.norm"], "chat_template": "chat.jinja"}
    spec = {
        "kind": "language",
        "model": "llama",
        "base": options | {"cache_trunk": cached},
        "datasets": {name: {"files": f"{name}.jsonl"} for name in ("one", "two")},
        "targets": {
            "quiz": {"task": "choice", "file": "quiz.jsonl"},
            "asked": {"task": "choice", "file": "quiz.jsonl", "chat": True, "metric": "loss"},
            "spelt": {"task": "exact_match", "file": "ask.jsonl", "chat": True, "max_new_tokens": 3},
        },
    }
    return load_targets(spec, root, root / "cache")


def changed_model(targets, root):
    """The base model with its trained tensors moved, the same way whether it is whole or a top."""
    model = load_state(targets.setup.build(), targets.setup.base_state(root / "cache"))
    with torch.no_grad():
        for name, parameter in sorted(trainable(model).items()):
            noise = torch.Generator().manual_seed(len(name))
            parameter += 0.3 * torch.randn(parameter.shape, generator=noise)
    return model


def both(root):
    for cached in (True, False):
        targets = targets_of(root, cached=cached)
        yield targets, changed_model(targets, root)


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("target", ["quiz", "asked"])
def test_choices_are_scored_as_by_the_whole_model(root, target, split):
    ours, theirs = (targets.scorer(target, split)(model) for targets, model in both(root))
    np.testing.assert_allclose(ours.values["loss"], theirs.values["loss"], rtol=ROUNDING)
    for metric in ("accuracy", "accuracy_norm"):
        assert np.array_equal(ours.values[metric], theirs.values[metric])


def test_a_text_is_scored_as_by_the_whole_model(root):
    text = "words, and more words of which a window holds a part " * 4
    scores = [TextLossScorer("t", [text], tokens_of(t.setup), stride=40)(m) for t, m in both(root)]
    np.testing.assert_allclose(*(found.values["loss"] for found in scores), rtol=ROUNDING)


def test_what_is_written_is_what_the_whole_model_writes(root):
    (ours, top), (theirs, whole) = both(root)
    asked = [Prompt(f"sea {n}", {}) for n in range(5)]
    task = GenerationScorer("t", asked, tokens_of(ours.setup), EXACT_MATCH, most=6, stop=("\0",))
    before = {name: value.clone() for name, value in top.state_dict().items()}
    assert task.texts(top) == task.texts(whole)
    assert all(torch.equal(value, before[name]) for name, value in top.state_dict().items())
    base = load_state(ours.setup.build(), ours.setup.base_state(root / "cache"))
    assert task.texts(base) != task.texts(top), "the weights of the one that wrote before"
    scores = [t.scorer("spelt", "test")(m).values["exact_match"] for t, m in ((ours, top), (theirs, whole))]
    assert np.array_equal(*scores)


def test_the_harness_scores_as_with_the_whole_model(root):
    pytest.importorskip("lm_eval", reason="needs the extra `lm-eval`")
    tasks = write_harness_task(root, root / "quiz.jsonl")
    scores = []
    for targets, model in both(root):
        [task] = load_harness_tasks(["tiny"], tokens_of(targets.setup), include=tasks)
        scores.append(task(model).values["acc"])
    assert np.array_equal(*scores)


def test_a_mixtures_choices_cost_its_top_alone(root, monkeypatch):
    wanted = scores_of_choices(*next(both(root)))
    monkeypatch.setattr(kept_activations.Trunk, "run", None)  # whoever calls it now fails
    again = targets_of(root, cached=True)
    heads = []
    model = changed_model(again, root)
    model.lm_head.register_forward_hook(lambda _, inputs, __: heads.append(inputs[0].shape))
    assert scores_of_choices(again, model) == wanted
    assert all(len(shape) == 2 for shape in heads), "logits of tokens that nobody asks for"


def scores_of_choices(targets, model):
    scorers = [targets.scorer(name, split) for name in ("quiz", "asked") for split in ("validation", "test")]
    return [scorer(model).values["loss"].tolist() for scorer in scorers]


def test_a_question_is_asked_by_the_template(root):
    tokens = tokens_of(targets_of(root, cached=True).setup)
    assert tokens.question("sun?") == "[user] sun?\n[assistant] "
    plain, asked = (targets_of(root, cached=False).scorer(name, "test") for name in ("quiz", "asked"))
    assert plain.version != asked.version


def test_models_that_write_share_what_is_frozen(root):
    ours, _ = next(both(root))
    one, two = (model.whole() for model in (ours.setup.build(), ours.setup.build()))
    assert one is two
    kept = ours.setup.language_model._kept.trunk.whole
    frozen = {name for name, parameter in kept.named_parameters() if not parameter.requires_grad}
    for name, parameter in one.named_parameters():
        same = parameter.data_ptr() == kept.get_parameter(name).data_ptr()
        assert same == (name in frozen), name
