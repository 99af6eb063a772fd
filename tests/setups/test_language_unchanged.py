"""Runs that are there go on: text gives the examples and keys that it gave before rows could be read."""

from pathlib import Path

import pytest

from m2m import setups
from m2m.pipeline import config
from m2m.setups.protocol import contents_of

WORDS = [f"{first}{second}" for first in "bdfgklmnprst" for second in "aeiou"]
CONFIG = """[run]
target = "goal"
[train]
steps = 2
batch = 4
learning_rate = 1e-3
[setup]
kind = "language"
model = "byte-gpt"
[setup.base]
layers = 1
width = 16
heads = 2
context = 16
steps = 2
batch = 2
text.prose.files = "two*.txt"
[setup.datasets.one]
files = "one*.txt"
limit = 100
[setup.datasets.rows]
files = "rows.jsonl"
read = "jsonl"
field = "body"
drop = "ba "
[setup.datasets.po]
files = "fr.po"
read = "po"
share = [0, 0.9]
[setup.targets.goal]
files = "goal*.txt"
validation = 20
test = 10
[setup.targets.rows]
dataset = "rows"
validation = 10
test = 10
"""
#: As commit 98541c9 gave them, the last before `m2m/setups/rows/`.
IDENTITY = "45f3e4ef229217ac63a1f59496010a70adaa4f2ed38b0b4046497bf6a4d5a1b6"
CONTENTS = {
    "dataset one": "fbb2782defecf35112266c06687addef",
    "dataset rows": "ee39794b62392171a6cca39e1bbb3153",
    "dataset po": "746a042c46bb6876879a5b120f3dabc6",
    "target goal": "ce06778929cc753726747216e401429a",
    "target rows": "25547339709512e7e763c8e64279b8a2",
    "version": "e2d82023b01b6ac4",
}
#: The quickstart's version then, when its target `italian` had messages that a dataset has too.
QUICKSTART = "960a342d1ef81a14"


def text(number: int, words: int) -> str:
    return " ".join(WORDS[(number * 37 + at * at) % 60] for at in range(words))


def test_text_gives_the_windows_and_keys_that_it_gave(tmp_path: Path) -> None:
    for name in ("one", "two", "goal"):
        for number in range(12):
            (tmp_path / f"{name}{number}.txt").write_text(name + " " + text(number, 40 + number))
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"body": "{text(n, 30)}"}}\n' for n in range(40)))
    messages = (f'msgid "{n}"\nmsgstr "{text(n + 50, 20)}"\n\n' for n in range(40))
    (tmp_path / "fr.po").write_text("".join(messages))
    (tmp_path / "run.toml").write_text(CONFIG)
    run = config.load(tmp_path / "run.toml")
    assert run.identity == IDENTITY
    assert contents_of(setups.load(run.setup, run.root, tmp_path / "cache")) == CONTENTS


def test_a_folders_version_is_what_it_was(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra `huggingface`")
    from m2m.setups.huggingface import HuggingFaceModel

    (tmp_path / "sub").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "sub" / "model.bin").write_bytes(b"weights")
    options = ((), (24, ("layers",)), (24, (), True))
    versions = [HuggingFaceModel(tmp_path, *given).version for given in options]
    assert versions == ["f18b3f5715ee5e0d", "47168ce6dd081d6b", "9fc5a2fcf0471fc7"]


@pytest.mark.network
def test_the_quickstart_is_what_it_was() -> None:
    from m2m.data import cache_dir

    run = config.load(Path(__file__).parents[2] / "examples" / "quickstart.toml")
    assert run.setup["targets"]["italian"].pop("unseen")
    assert setups.load(run.setup, run.root, cache_dir()).version == QUICKSTART
