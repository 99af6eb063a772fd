"""Python code that a model's folder brings: it runs only where the user says so, and nobody is asked."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from m2m.cli import main
from tests.helpers.tiny_models import write_llama

ROOT = Path(__file__).parents[3]

CONFIGURATION = """
from pathlib import Path
from transformers import LlamaConfig
Path({ran!r}).touch()
class OwnConfig(LlamaConfig):
    model_type = "own-{tag}"
"""
MODELING = """
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig
class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""
AUTO_MAP = {
    "AutoConfig": "configuration_own.OwnConfig",
    "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
}


class Yes:
    """A terminal whose user says yes to everything; it counts the questions."""

    asked = 0

    def readline(self, *_: object) -> str:
        self.asked += 1
        return "yes\n"

    read = readline


@pytest.fixture
def yes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Yes:
    terminal = Yes()
    monkeypatch.setattr(sys, "stdin", terminal)
    # Where transformers copies code to before it runs it.
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("some text to be scored " * 9, encoding="utf-8")
    lines = [json.dumps({"text": f"document {number} of several"}) for number in range(40)]
    (tmp_path / "text.jsonl").write_text("\n".join(lines[::2]), encoding="utf-8")
    (tmp_path / "target.jsonl").write_text("\n".join(lines[1::2]), encoding="utf-8")
    return terminal


def own_code(folder: Path, **config: object) -> Path:
    """Write a Llama that calls itself something else and brings its code."""
    write_llama(folder)
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    tag = folder.parent.name.replace("_", "-")
    content |= {
        "model_type": f"own-{tag}",
        "architectures": ["OwnForCausalLM"],
        "auto_map": AUTO_MAP,
    } | config
    path.write_text(json.dumps(content), encoding="utf-8")
    code = CONFIGURATION.format(ran=str(folder.parent / "ran"), tag=tag)
    (folder / "configuration_own.py").write_text(code, encoding="utf-8")
    (folder / "modeling_own.py").write_text(MODELING, encoding="utf-8")
    return folder


SCORE = ["score", "--base", "base", "--experts", "base", "--task", "lm:text.txt", "--out", "s.csv"]
SEARCH = [
    "search",
    "--base",
    "base",
    "--experts",
    "base",
    "--task",
    "lm:text.txt",
    "--metric",
    "loss",
    "--out",
    "t.csv",
]
RUN = """
[run]
target = "t"
[train]
steps = 1
batch = 1
learning_rate = 1e-3
[setup]
kind = "language"
model = "base"
{trust}
[setup.base]
context = 8
[setup.datasets.a]
files = "text.jsonl"
read = "jsonl"
[setup.datasets.b]
files = "text.jsonl"
read = "jsonl"
[setup.targets.t]
files = "target.jsonl"
read = "jsonl"
validation = 1
test = 1
"""  # fmt: skip


@pytest.mark.parametrize("verb", ["score", "search", "score --setup"])
def test_code_of_a_folder_is_not_run_and_nobody_is_asked(
    verb: str, yes: Yes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_code(tmp_path / "base")
    (tmp_path / "run.toml").write_text(RUN.format(trust=""), encoding="utf-8")
    setup = [*SCORE[:5], "--setup", "run.toml", "--target", "t", "--out", "s.csv"]
    argv = {"score": SCORE, "search": SEARCH, "score --setup": setup}[verb]
    assert main(argv) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("m2m: error")]
    assert "base brings Python code of its own" in line
    assert "--trust-remote-code" in line
    assert not (tmp_path / "ran").exists()
    assert yes.asked == 0
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize("verb", ["score", "search"])
def test_code_that_is_trusted_runs(verb: str, yes: Yes, tmp_path: Path) -> None:
    own_code(tmp_path / "base")
    assert main([*(SCORE if verb == "score" else SEARCH), "--trust-remote-code"]) == 0
    assert (tmp_path / "ran").exists()
    assert yes.asked == 0


def test_a_configuration_may_trust(yes: Yes, tmp_path: Path) -> None:
    from m2m import setups
    from m2m.pipeline import config

    own_code(tmp_path / "base")
    (tmp_path / "run.toml").write_text(RUN.format(trust="trust_remote_code = true"), encoding="utf-8")
    loaded = config.load(tmp_path / "run.toml")
    setup = setups.load(loaded.setup, loaded.root, tmp_path / "cache")
    assert type(setup.build()).__name__ == "OwnForCausalLM"
    assert yes.asked == 0


def test_what_transformers_knows_itself_is_built_without_the_folders_code(yes: Yes, tmp_path: Path) -> None:
    own_code(tmp_path / "base", model_type="llama", architectures=["LlamaForCausalLM"])
    assert main(SCORE) == 0
    assert not (tmp_path / "ran").exists()
    assert yes.asked == 0


def test_a_tokenizers_code_is_not_run(yes: Yes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_llama(tmp_path / "base")
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content |= {
        "tokenizer_class": "OwnTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]},
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    code = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    (folder / "tokenization_own.py").write_text(code, encoding="utf-8")
    code = main(SCORE)
    assert not (tmp_path / "ran").exists()
    assert yes.asked == 0
    assert code == 2
    assert "brings Python code of its own" in capsys.readouterr().err


@pytest.mark.usefixtures("yes")
def test_trusted_code_is_part_of_what_a_score_is_of(tmp_path: Path) -> None:
    from m2m.scoring.live.huggingface import HuggingFaceFolder

    folder = own_code(tmp_path / "base", model_type="llama", architectures=["LlamaForCausalLM"])
    before = {trust: HuggingFaceFolder(folder, trust=trust).architecture for trust in (False, True)}
    (folder / "modeling_own.py").write_text(MODELING + "\n# changed\n", encoding="utf-8")
    after = {trust: HuggingFaceFolder(folder, trust=trust).architecture for trust in (False, True)}
    assert before[False] == after[False]
    assert len({before[False], before[True], after[True]}) == 3


def test_every_loader_of_transformers_is_told_whether_to_trust() -> None:
    forgotten = []
    for file in [
        path for room in ("m2m", "analysis", "benchmarks", "examples") for path in (ROOT / room).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                told = any(keyword.arg == "trust_remote_code" for keyword in node.keywords)
                if node.func.attr in ("from_pretrained", "from_config") and not told:
                    forgotten.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not forgotten


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 10**9}, {"vocab_size": -1}, {"vocab_size": 2**62}, {"vocab_size": 1.5},
        {"vocab_size": "many"}, {"vocab_size": None},
        {"num_hidden_layers": 10**9}, {"num_hidden_layers": 90_000}, {"num_hidden_layers": None},
        {"num_attention_heads": 0}, {"num_attention_heads": 10**9}, {"intermediate_size": 10**12},
        {"max_position_embeddings": "x"}, {"max_position_embeddings": -1},
        {"architectures": 3}, {"architectures": [3]},
        {"model_type": 3}, {"model_type": None}, {"model_type": "\ud800"},
        {"rope_parameters": 3}, {"hidden_act": "none such"}, {"hidden_act": 3}, {"rms_norm_eps": "x"},
        {"torch_dtype": "x", "dtype": "x"}, {"quantization_config": {"quant_method": "x"}},
        {"attn_implementation": "x"}, {"num_key_value_heads": 7}, {"head_dim": 10**9},
    ],
    ids=str,
)  # fmt: skip
def test_an_odd_configuration_is_one_line(
    change: dict[str, object], yes: Yes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_llama(tmp_path / "base") / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change), encoding="utf-8")
    code = main(SCORE)
    err = capsys.readouterr().err
    assert code in (0, 2)
    if code:
        assert "Traceback" not in err
        assert sum(line.startswith("m2m: error:") for line in err.splitlines()) == 1
        assert "base" in err


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("tokenizer_config.json", {"model_max_length": []}, "is not a folder with a tokenizer"),
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": {"a": 0, "e": 99_999}, "merges": []}}, "99999"),
        ("tokenizer.json", {"model": 3}, "is not a folder with a tokenizer"),
        ("config.json", {"vocab_size": 3}, "begins texts with 256, which is no token"),
    ],
)
def test_an_odd_tokenizer_is_one_line(
    file: str,
    change: dict[str, object],
    said: str,
    yes: Yes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_llama(tmp_path / "base") / file
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change), encoding="utf-8")
    assert main(SCORE) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("m2m: error")]
    assert said in line
