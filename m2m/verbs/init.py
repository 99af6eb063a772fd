"""`m2m init`: a commented configuration that runs, from the user's files or from pinned packages."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape, glob, has_magic
from importlib import resources
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from m2m import setups
from m2m.data import cache_dir
from m2m.errors import ConfigError, DataError, InputError
from m2m.pipeline.config_tables import json_schema_text
from m2m.setups.protocol import Setup
from m2m.support.arguments import argument
from m2m.support.checked import checked
from m2m.support.doors import require_file
from m2m.support.extras import installing
from m2m.support.files import write_atomically
from m2m.support.names import fault, short_names
from m2m.support.outputs import Output, check_outputs
from m2m.support.progress import Progress
from m2m.support.schema import repeated
from m2m.support.toml_text import toml_key, toml_lines, toml_value

#: The names of the two files.
CONFIG, SCHEMA = "config.toml", "config.schema.json"
#: Examples a training step takes.
BATCH = 8
#: Contexts that are tried, in tokens; of the byte GPT, in bytes, so that it trains in minutes of one core.
CONTEXTS, CONTEXTS_OF_BYTES = (512, 256, 128, 64, 32), (128, 64, 32)
#: Examples that each split of a target should have.
ENOUGH = 64
#: Share of the examples with answers that fit in the context, which is a multiple of `ROUND` tokens.
LONG_ENOUGH, ROUND = 0.95, 32
#: Parameters of a model that trains slowly on a CPU.
LARGE = 50_000_000
#: Fewest and most steps of an expert that are written.
STEPS = (20, 200)
#: A model that a pinned package carries.
_SMALL = "smollm2-135m-instruct"


@dataclass(frozen=True)
class NewConfig:
    """What was written.

    Attributes:
        config: The configuration.
        schema: The JSON schema that editors complete it from.
        command: What to run next.
        dry_run: What says before that what it would take.
    """

    config: Path
    schema: Path
    command: str
    dry_run: str


@checked()
def init(
    folder: str | Path,
    *,
    data: Sequence[str | Path] = (),
    targets: Sequence[str | Path] = (),
    base: str | Path | None = None,
    progress: Progress | None = None,
) -> NewConfig:
    """Write a commented configuration that runs: `config.toml`, and the JSON schema for editors beside it.

    Without `data` it is the quickstart's, on pinned packages. Else the files are read once, and context,
    steps and the number of examples are chosen so that they fit them.

    Args:
        folder: Where the configuration goes; made if need be. No file there is written over.
        data: The datasets, two or more: files, folders of files of one kind, or patterns as `texts/*.txt`;
            they are named after their files or folders.
        targets: Files that mixtures are judged on; the first is the one chosen for. A file that is in
            `data` too stands for the part of that dataset that is then kept from training.
        base: The model to fine-tune: a Hugging Face folder, an id of the hub, or `smollm2-135m-instruct`,
            which a pinned package carries. None: a byte GPT, which is small and pretrained on a fifth of each
            dataset.
        progress: Called with (done, total, step).

    Returns:
        Where it is, and the commands to run next.

    Raises:
        ConfigError: If a file is there already, or `data` and `targets` make no configuration.
        DataError: If a file cannot be read, or there is too little in it.
    """  # noqa: DOC502 - partly raised by what is called
    place = Path(folder)
    check_outputs([Output(argument("folder", folder), place, "folder")])
    if data:
        text = _of_files(place, data, targets, base, progress)
    elif targets or base is not None:
        raise ConfigError(f"{argument('data')} is missing: the files to choose from, two or more")
    else:
        text = (resources.files("m2m.verbs") / "quickstart.toml").read_text(encoding="utf-8")
    files = {place / SCHEMA: json_schema_text(), place / CONFIG: f"#:schema ./{SCHEMA}\n{text}"}
    for path, content in files.items():
        if os.path.lexists(path) and not _holds(path, content):
            raise ConfigError(f"{path} is there already, and is left as it is: name another folder")
    place.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        write_atomically(path, content)
    config, run = (quote(str(place / name)) for name in (CONFIG, "run"))
    command, dry_run = f"m2m run {config} --out {run}", f"m2m run {config} --dry-run"
    return NewConfig(place / CONFIG, place / SCHEMA, command, dry_run)


def _holds(path: Path, content: str) -> bool:
    # What an interrupted call wrote is no obstacle to the next.
    return path.is_file() and path.read_bytes() == content.encode()


def _of_files(
    folder: Path,
    data: Sequence[str | Path],
    targets: Sequence[str | Path],
    base: str | Path | None,
    progress: Progress | None,
) -> str:
    sources = _named(data, "data")
    if len(sources) < 2:
        raise ConfigError(f"{argument('data')} wants two files or more: there is nothing to choose between")
    if not targets:
        raise ConfigError(f"{argument('targets')} is missing: a file like what the model shall be good at")
    goals = _named(targets, "targets")
    tables = _tables(sources, goals, base)
    setup = _fitted(tables, progress)
    return _text(_placed(tables, Path(os.path.realpath(folder))), list(goals), setup)


def _named(paths: Sequence[str | Path], what: str) -> dict[str, str]:
    """Name files, folders and patterns, and say what `files` says of each."""
    files = [_files(path, what) for path in paths]
    if (twice := repeated([os.path.realpath(path) for path in paths])) is not None:
        raise ConfigError(f"{argument(what)} names {twice} twice")
    names = [re.sub(r"[^\w.-]+", "_", name).strip("._-") for name in short_names([_stem(p) for p in paths])]
    bad = next((at for at, name in enumerate(names) if fault(name) or name in names[:at]), None)
    if bad is not None:
        raise ConfigError(f"{argument(what)}: no name can be made of {paths[bad]}: rename the file")
    return dict(zip(names, files, strict=True))


def _files(path: str | Path, what: str) -> str:
    """Return the pattern of a file, of a folder's files of one kind, or of what is a pattern already."""
    said = os.path.abspath(path)
    if os.path.isdir(said):
        inside = sorted(each for each in Path(said).iterdir() if each.is_file() and each.name[0] != ".")
        if len({each.suffix for each in inside}) != 1:
            raise ConfigError(
                f"{argument(what)}: {path} is a folder of {len(inside)} files, not all of one kind: say "
                f"which are meant, as '{os.path.join(path, '*.txt')}'"
            )
        return os.path.join(escape(said), f"*{inside[0].suffix}")
    if not os.path.exists(said) and glob(said, recursive=True):
        return said
    require_file(Path(path), "data", DataError)
    if not os.path.exists(path):
        raise ConfigError(f"{argument(what)}: no file {path}")
    return escape(said)


def _stem(path: str | Path) -> str:
    place = Path(os.path.abspath(path))
    if not place.exists():  # a pattern is called after its folder
        place = next(parent for parent in place.parents if not has_magic(str(parent)))
    return str(place.with_name(place.name.partition(".")[0] or place.name))


def _tables(sources: Mapping[str, str], goals: Mapping[str, str], base: str | Path | None) -> dict[str, Any]:
    """Make the `[setup]` table, but for what depends on how much there is to read."""
    datasets = {name: {"files": files} for name, files in sources.items()}
    names = {os.path.realpath(files): name for name, files in sources.items()}
    targets = {
        name: {"dataset": names[real]} if (real := os.path.realpath(files)) in names else {"files": files}
        for name, files in goals.items()
    }
    if base is not None:
        return {
            "kind": "language",
            "model": os.path.abspath(base) if os.path.exists(base) else str(base),
            "base": {},
            "datasets": datasets,
            "targets": targets,
        }
    text = {name: source | {"share": [0.0, 0.2]} for name, source in datasets.items()}
    shared = {name: source | {"share": [0.2, 1.0]} for name, source in datasets.items()}
    shape = {"layers": 2, "width": 96, "heads": 3, "steps": 200, "text": text}
    return {
        "kind": "language",
        "model": "byte-gpt",
        "base": shape,
        "datasets": shared,
        "targets": targets,
    }


def _placed(tables: Any, folder: Path) -> Any:
    """Name files near the configuration from its folder: they keep their places when both move."""
    if isinstance(tables, dict):
        return {name: _placed(inner, folder) for name, inner in tables.items()}
    if isinstance(tables, str) and Path(tables).is_relative_to(folder.parent):
        return os.path.relpath(tables, folder)
    return tables


def _fitted(tables: dict[str, Any], progress: Progress | None) -> Setup:
    """Load the data with the longest context that leaves the targets enough examples, and note it."""
    found: dict[int, Setup] = {}
    for context in CONTEXTS_OF_BYTES if tables["model"] == "byte-gpt" else CONTEXTS:
        tables["base"]["context"] = context
        try:
            found[context] = setups.load(tables, Path(), cache_dir(), progress)
        except InputError as error:
            if "[setup.base" in str(error) and tables["model"] == "byte-gpt":
                raise ConfigError(_no_byte_gpt(error)) from error
            if not isinstance(error, DataError) or isinstance(error.__cause__, OSError):
                raise  # a disk that fails says nothing of how much there is to read
            why = error
            continue
        if _examples_of_targets(found[context]) >= ENOUGH:
            break
    if not found:
        raise why
    context = max(found, key=lambda context: _examples_of_targets(found[context]))
    shorter = _context_of_answers(found[context])
    if shorter < context:
        tables["base"]["context"] = shorter
        setup = setups.load(tables, Path(), cache_dir(), progress)
        if _examples_of_targets(setup) >= _examples_of_targets(found[context]):
            return setup
    tables["base"]["context"] = context
    return found[context]


def _no_byte_gpt(error: InputError) -> str:
    """Say why a base model must be named, of an error about what a byte GPT is pretrained on."""
    where, _, why = str(error).partition(": ")
    name = where.removeprefix("[setup.base.text.").removesuffix("]")
    return (
        f"{argument('base')} is missing: without it the model is a byte GPT, pretrained on a fifth of each "
        f"dataset, and {name} cannot serve for that ({why}); name a model, as {argument('base', _SMALL)} "
        f"({installing('gguf')})"
    )


def _context_of_answers(setup: Setup) -> float:
    """Give the context that `LONG_ENOUGH` of the answers fit in; infinite for windows of text."""
    splits = [split for goal in setup.targets.values() for split in (goal.validation, goal.test)]
    answers = [each.tensors[1] for each in (*setup.datasets.values(), *splits) if len(each.tensors) > 1]
    if not answers:
        return math.inf
    last = torch.cat([is_answer.shape[1] - 1 - is_answer.int().flip(1).argmax(1) for is_answer in answers])
    return ROUND * math.ceil(torch.quantile(last.double(), LONG_ENOUGH).item() / ROUND)


def _examples_of_targets(setup: Setup) -> int:
    """Count the examples of the smallest split of a target."""
    return min(len(split) for goal in setup.targets.values() for split in (goal.validation, goal.test))


def _text(tables: Mapping[str, Any], goals: Sequence[str], setup: Setup) -> str:
    examples = sorted(len(dataset) for dataset in setup.datasets.values())
    steps = min(max(examples[len(examples) // 2] // BATCH, STEPS[0]), STEPS[1])
    own = tables["model"] == "byte-gpt"
    rate = "1e-3" if own else "5e-5"
    sizes = ", ".join(f"{name} {len(dataset)}" for name, dataset in setup.datasets.items())
    head = f"""\
# Which of {", ".join(tables["datasets"])} should the model be fine-tuned on, to be good at {goals[0]}?
# Written by `m2m init`. Every key: docs/configuration.md of m2m, or the schema beside this file.

[run]
target = {toml_value(goals[0])}
validate = false # true: train every mixture too, to measure how far merged models can be trusted
seed = 0

[train] # the same for every expert and mixture
steps = {steps} # of each expert; examples there are: {sizes}
batch = {BATCH}
optimizer = "adamw"
learning_rate = {rate} # merging adds up what training changed, and wants small changes
schedule = "cosine"
warmup = {steps // 10}

[setup]
kind = "language"
model = {toml_value(tables["model"])}{_MODEL_HINT if own else ""}

[setup.base]
"""
    base = {key: value for key, value in tables["base"].items() if key != "text"}
    body = toml_lines(base) + ("" if own else _trainable_hint(setup))
    for kind, named in (
        ("base.text", tables["base"].get("text", {})),
        ("datasets", tables["datasets"]),
        ("targets", tables["targets"]),
    ):
        for number, (name, table) in enumerate(named.items()):
            said = "" if number else _COMMENTS[kind]
            body += f"\n{said}[setup.{kind}.{toml_key(name)}]\n{toml_lines(table)}"
    return head + body


_MODEL_HINT = (
    " # small, of bytes; your own: a Hugging Face folder or hub id, with only `context` in [setup.base]"
)
_TRAINABLE_HINT = (
    '# trainable = ["layers\\\\.2[0-9]\\\\."] # only these parameters: faster, and smaller experts\n'
)
_COMMENTS = {
    "base.text": "# What the base model is pretrained on: a fifth of each dataset, not trained on again.\n",
    "datasets": "# An expert is fine-tuned on each. `limit = 1000` takes fewer examples.\n",
    "targets": "# What mixtures are chosen for: `validation = 64` examples choose, `test = 64` judge.\n",
}


def _trainable_hint(setup: Setup) -> str:
    """Say how fewer parameters are trained; of a large model of blocks, which and why."""
    sizes = {name: parameter.numel() for name, parameter in setup.build().named_parameters()}
    found = [re.search(r"(\w+)\.(\d+)\.", name) for name in sizes]
    blocks = [(match[1], int(match[2])) for match in found if match]
    size = sum(sizes.values())
    last = max((number for _, number in blocks), default=0)
    if size <= LARGE or last < 2:
        return _TRAINABLE_HINT
    row = blocks[-1][0]
    return (
        f"# {size / 1e6:.0f} M parameters train slowly on a CPU. With these lines the last 2 of {last + 1} "
        "blocks train\n# alone, and those below run once for each example, before anything is trained\n"
        "# (docs/training.md of m2m):\n"
        f"# trainable = ['{row}\\.({last - 1}|{last})\\.']\n# cache_trunk = true\n"
    )
