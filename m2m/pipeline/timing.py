"""One training step and one forward, really done and timed, and what they and a model take of the machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from m2m.data import cache_dir
from m2m.mixture import Mixture
from m2m.pipeline.config import RunConfig
from m2m.scoring import Targets
from m2m.scoring.live.device import free_bytes
from m2m.scoring.tasks.scorer import BatchedScorer, Scorer, SomeExamples, score_model
from m2m.setups.protocol import Setup, load_state, trainable
from m2m.support.devices import one_thread
from m2m.support.process_memory import peak_resident_bytes
from m2m.support.progress import Progress
from m2m.training import TrainRecipe, train
from m2m.training.device import open_training_device


@dataclass(frozen=True)
class Timing:
    """What was measured, on one thread as a worker has it.

    Attributes:
        step: Seconds of a training step of `batch` examples; None where the user's own trainer trains.
        example: Seconds of one example through the model, scored.
        memory: Most bytes that this process held, or that torch held on the GPU that trains.
        free: Bytes that are free where it trains.
        base: Bytes of the base model.
        model: Bytes of a trained model or adapter.
        expert: Bytes of an expert, with its moments where they are kept.
        on_gpu: Whether it trains on a GPU, where one training runs at a time.
        pretrained: Whether the base model is at hand; if not it has yet to be pretrained, and its weights
            were drawn: a step takes as long whatever they are.
    """

    step: float | None
    example: float
    memory: int
    free: int
    base: int
    model: int
    expert: int
    on_gpu: bool
    pretrained: bool


def measure(config: RunConfig, targets: Targets, device: torch.device, progress: Progress) -> Timing:
    """Do and time one step of training on all datasets, and one batch of scoring, both after a first one.

    Args:
        config: The run configuration.
        targets: Its set-up and targets.
        device: Where models are scored.
        progress: Called with (done, total, step).

    Returns:
        What was measured.

    Raises:
        ConfigError: If training or scoring a model would end in an error at its first step.
    """  # noqa: DOC502 - raised by what is called
    setup = targets.setup
    drawn = getattr(setup, "drawn_state", lambda cache: None)(cache_dir())
    base: dict[str, Tensor] = setup.base_state(cache_dir(), progress) if drawn is None else drawn
    size, place = _bytes(base.values()), open_training_device(config.train.device)
    step, model, expert = None, size, size
    progress(0, 2, "timing a step and a forward")
    with one_thread():
        if not config.trainer.command:
            step, model = _time_step(setup, base, config)
            expert = model + (_moments(setup) if config.train.save_moments else 0)
        progress(1, 2, "timing a step and a forward")
        scorer = targets.scorer(next(iter(config.run.weights)), "validation")
        example = _time_example(setup, base, scorer, device)
    progress(2, 2, "timing a step and a forward")
    on_gpu = place.type == "cuda" and step is not None
    return Timing(
        step=step,
        example=example,
        memory=torch.cuda.max_memory_allocated(place) if on_gpu else peak_resident_bytes(),
        free=free_bytes(place if on_gpu else torch.device("cpu")),
        base=size,
        model=model,
        expert=expert,
        on_gpu=on_gpu,
        pretrained=drawn is None,
    )


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files in a folder, those of sub-folders too."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _time_step(setup: Setup, base: Mapping[str, Tensor], config: RunConfig) -> tuple[float, int]:
    """Return the seconds of the second of two steps, and the bytes of what training leaves."""
    # The first step makes the optimizer's state, and finds memory.
    recipe: TrainRecipe = replace(config.train, steps=2, warmup=0, horizon="matched")
    ends: list[float] = []
    names = list(setup.datasets)
    trained = train(
        setup, base, Mixture.subset(names, names), recipe, config.run.seed,
        lambda done, total, what: ends.append(time.perf_counter()),
    )  # fmt: skip
    left = trained.state if trained.adapter is None else trained.adapter.tensors
    return ends[1] - ends[0], _bytes(left.values())


def _time_example(setup: Setup, base: Mapping[str, Tensor], scorer: Scorer, device: torch.device) -> float:
    """Return the seconds of an example in a batch, or in a whole task without, scored for the second time."""
    some = scorer
    if isinstance(scorer, BatchedScorer):
        some = SomeExamples(scorer, range(min(setup.batch_size, scorer.count)))
    model = load_state(setup.build(), base).to(device)
    score_model(model, [some])
    start = time.perf_counter()
    [found] = score_model(model, [some])
    return (time.perf_counter() - start) / found.count


def _moments(setup: Setup) -> int:
    return sum(4 * parameter.numel() for parameter in trainable(setup.build()).values())


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Add up tensors' bytes; those that share memory, as tied ones do, are written once."""
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())
