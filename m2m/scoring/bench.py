"""What candidates are scored on: a module of the base architecture, and tasks."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from m2m.checkpoint.layout import Layout
from m2m.errors import ConfigError
from m2m.scoring.live.huggingface import HuggingFaceFolder, is_model_folder
from m2m.scoring.streamed.weights import build_on_meta
from m2m.scoring.targets import Targets
from m2m.scoring.tasks import ByteTokens, TaskOptions, Tokens, load_tasks
from m2m.scoring.tasks.scorer import Scorer
from m2m.support.arguments import argument
from m2m.support.outputs import RUN_MARK
from m2m.support.user_code import load_function


def no_layout() -> Layout | None:
    """Say that every stored tensor is the module's of its name."""
    return None


@dataclass(frozen=True)
class Bench:
    """A module and its tasks.

    Attributes:
        build: Makes a new module; its weights are written over.
        build_empty: The same without reading weights, for a model that does not fit in memory.
        architecture: Content hash of what decides the module besides its weights; part of the cache key.
        scorers: The tasks.
        layout: Says how stored tensors make up the module's; None: each is the module's of its name.
    """

    build: Callable[[], nn.Module]
    build_empty: Callable[[], nn.Module]
    architecture: str
    scorers: Sequence[Scorer]
    layout: Callable[[], Layout | None] = no_layout


def setup_bench(known: Targets, targets: Sequence[str], split: str = "validation") -> Bench:
    """Score on targets of a run configuration, by name, on `validation` or `test`."""
    setup, scorers = known.setup, [known.scorer(target, split) for target in targets]
    return Bench(setup.build, setup.build, setup.version, scorers)


def task_bench(
    base: Path,
    tasks: Sequence[str],
    *,
    model: str | None = None,
    context: int | None = None,
    options: TaskOptions | None = None,
    root: Path | None = None,
) -> Bench:
    """Score on tasks as users spell them, with the module of a factory, or else of the base's folder."""
    # Relative paths of tasks and factory start from `root`; None: the current folder.
    place = root or Path()
    layout = no_layout
    if model is not None:
        factory = load_function(model, place, argument("model"))
        build = build_empty = _checked(factory, model)
        architecture = _source_hash(factory)
    elif is_model_folder(base):
        folder = HuggingFaceFolder(base, context, trust=(options or TaskOptions()).trust_remote_code)
        build, build_empty, architecture = folder.build, folder.build_empty, folder.architecture
        layout = folder.layout
    else:
        raise ConfigError(f"{base} is no Hugging Face folder (it has no config.json): {_to_build(base)}")

    def tokens() -> Tokens:
        if model is None:
            return folder
        if context is None:
            raise ConfigError(
                f"a module of your own reads bytes: {argument('context')} says how many at most"
            )
        return ByteTokens(build_on_meta(build), context)

    scorers = [
        scorer for task in tasks for scorer in load_tasks(task, place, tokens, options or TaskOptions())
    ]
    return Bench(build, build_empty, architecture, scorers, layout)


def _to_build(base: Path) -> str:
    """Say how the module of a base without a `config.json` is given."""
    if (base.parent / RUN_MARK).is_file():
        config = base.parent / "config.toml"
        return (
            f"it is the base model of a run, whose configuration says how to build it: "
            f"{argument('setup', config)} {argument('targets', 'NAME')}"
        )
    return f"{argument('model', 'FILE.py:FACTORY')} says how to build the module"


def _checked(factory: Callable[[], Any], name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        made = factory()
        if not isinstance(made, nn.Module):
            got = f"the class {made.__name__}" if isinstance(made, type) else type(made).__name__
            raise ConfigError(f"{argument('model', name)} must return a torch module, got {got}")
        return made

    return build


def _source_hash(factory: Callable[[], nn.Module]) -> str:
    source = inspect.getsource(sys.modules[factory.__module__])
    return hashlib.sha256(source.encode()).hexdigest()[:16]
