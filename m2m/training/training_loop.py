"""Fine-tune the base model on a mixture: how experts, mixtures and the final model are all made.

Each step trains on exact mixture shares, and a dataset's examples come in one order whatever the mixture.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fractions import Fraction
from itertools import islice
from math import lcm
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from m2m.checkpoint.second_moments import second_moments
from m2m.errors import ConfigError, DataError, MixtureError
from m2m.mixture import Mixture
from m2m.setups.protocol import Batch, Examples, Setup, load_state, trainable
from m2m.support.progress import Progress
from m2m.training.device import open_training_device, out_of_memory_told
from m2m.training.lora import LoraTraining, TrainedAdapter
from m2m.training.recipe import Dtype, TrainRecipe
from m2m.training.saved_state import Curve, SavedTraining
from m2m.training.shares import drawn_mixture

#: Changes when training would give other weights from the same arguments.
REVISION = 1


class Trained(NamedTuple):
    """What a training leaves."""

    #: The whole state: trainable tensors moved, all others equal to the base model's.
    state: dict[str, Tensor]
    #: AdamW's second moments v̂ of the trained tensors, in float32; empty unless asked for.
    moments: dict[str, Tensor]
    #: The losses of the batches, each before its step.
    curve: Curve
    #: The factors, where LoRA trained them.
    adapter: TrainedAdapter | None = None


def curve_text(curve: Curve) -> str:
    """Write a loss curve as CSV: step, loss in nat, learning rate."""
    rows = (f"{step},{loss!r},{rate!r}\n" for step, loss, rate in curve)
    return "step,loss,learning_rate\n" + "".join(rows)


def fine_tune(
    setup: Setup,
    base: Mapping[str, Tensor],
    mixture: Mixture,
    recipe: TrainRecipe,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Train θ₀ on a mixture and return the state alone; see `train`."""
    return train(setup, base, mixture, recipe, seed, progress).state


def train(
    setup: Setup,
    base: Mapping[str, Tensor],
    mixture: Mixture,
    recipe: TrainRecipe,
    seed: int,
    progress: Progress | None = None,
    *,
    moments: bool = False,
    saved: SavedTraining | None = None,
) -> Trained:
    """Train θ₀ on a mixture; the same code makes an expert (one dataset) and the truth θ*(λ).

    The result depends on the arguments and on torch's thread count only. A mixture of one dataset is bitwise
    that dataset's expert. Batch-norm statistics stay the base model's, as do all frozen tensors.

    Args:
        setup: The model and its data.
        base: θ₀, tensor by name; left as it is.
        mixture: Shares of the datasets.
        recipe: How to train.
        seed: Decides the order of examples and the model's own randomness (dropout).
        progress: Called after each step.
        moments: Whether AdamW's second moments are wanted too.
        saved: Where the state is saved on the way, every `recipe.save_every` steps; a state that lies there
            of the same training is gone on with, to the same bits.

    Returns:
        The trained state, the moments, the loss curve, and the adapter of a LoRA training.

    Raises:
        ConfigError: If the loss or the trained weights stop being finite: the recipe is too hot.
        CheckpointError: If the moments of an optimizer without any are wanted.
    """  # noqa: DOC502 - raised by what is called
    data = _members(setup, mixture)
    sizes = {name: len(examples) for name, examples in data.items()}
    sampler = MixtureSampler(drawn_mixture(setup, mixture, recipe), sizes, recipe.batch, seed)
    total, device = recipe.total_steps(mixture), open_training_device(recipe.device)
    with _own_randomness(seed), out_of_memory_told(device, recipe):
        model = load_state(setup.build(), base)
        lora = None if recipe.lora is None else LoraTraining(model, recipe.lora)
        model.to(device)
        _training_mode(model, recipe)
        optimizer = _optimizer(list(trainable(model).values()), recipe)
        done, curve = (0, []) if saved is None else saved.resume(model, optimizer)
        for step, picked in islice(zip(range(total), sampler, strict=False), done, None):
            rate = recipe.learning_rate_at(step, total)
            loss = _descend(setup, model, optimizer, _batch(data, picked, device), recipe, rate)
            if not math.isfinite(loss):
                raise ConfigError(_diverged(f"the loss is {loss}", mixture, step, total, recipe))
            curve.append((step + 1, loss, rate))
            if saved is not None and recipe.save_every and (step + 1) % recipe.save_every == 0:
                saved.save(step + 1, model, optimizer, curve)
            if progress is not None:
                progress(step + 1, total, f"training on {mixture.label}")
        kept = second_moments(optimizer, model) if moments else {}
    state = _trained_state(model, base) if lora is None else lora.state(base)
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ConfigError(_diverged(f"{name} is not finite", mixture, total - 1, total, recipe))
    return Trained(state, kept, curve, None if lora is None else lora.adapter())


def _members(setup: Setup, mixture: Mixture) -> dict[str, Examples]:
    unknown = [name for name in mixture.members if name not in setup.datasets]
    if unknown:
        raise MixtureError(
            f"the mixture {mixture.label} draws from {unknown}; there are {list(setup.datasets)}"
        )
    data = {name: setup.datasets[name] for name in mixture.members}
    fields = {
        name: [(t.dtype, tuple(t.shape[1:])) for t in examples.tensors] for name, examples in data.items()
    }
    first = next(iter(fields))
    for name, got in fields.items():
        if got != fields[first]:
            raise DataError(
                f"examples of {name} do not batch with those of {first}: got {got}, wanted {fields[first]}"
            )
    return data


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Seed torch for the model's own draws, and give the caller's generator back untouched."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _training_mode(model: nn.Module, recipe: TrainRecipe) -> None:
    """Switch dropout on, but not batch-norm statistics: they do not train, and experts must share them."""
    model.train()
    if recipe.checkpoint_activations:
        _checkpoint_activations(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.eval()


def _checkpoint_activations(model: nn.Module) -> None:
    # transformers 5 renames what 4 had.
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
    enable: Any = next((getattr(model, name) for name in names if hasattr(model, name)), None)
    if enable is None:
        raise ConfigError(
            f"train.checkpoint_activations is for models of transformers; a {type(model).__name__} cannot: "
            "train.micro_batch saves memory too"
        )
    enable({"use_reentrant": False})


def _optimizer(parameters: list[nn.Parameter], recipe: TrainRecipe) -> torch.optim.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=recipe.momentum, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr=rate, betas=recipe.betas, weight_decay=decay, fused=True)


def _batch(data: Mapping[str, Examples], picked: Mapping[str, Tensor], device: torch.device) -> Batch:
    parts = [data[name].take(index) for name, index in picked.items()]
    return tuple(torch.cat(fields).to(device) for fields in zip(*parts, strict=True))


def _descend(
    setup: Setup,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    recipe: TrainRecipe,
    rate: float,
) -> float:
    """Take one step, unless the loss is not finite; returns the batch's loss."""
    optimizer.zero_grad()
    whole = 0.0
    for part, share in _micro_batches(batch, recipe.micro_batch):
        with _computing_in(recipe.dtype, batch[0].device):
            loss = setup.loss(model, part).mean()
        if share != 1:
            loss = loss * share
        whole += loss.item()
        if not math.isfinite(whole):
            return whole
        loss.backward()  # type: ignore[no-untyped-call]
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(trainable(model).values(), recipe.clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return whole


def _computing_in(dtype: Dtype, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()


def _micro_batches(batch: Batch, size: int | None) -> Iterator[tuple[Batch, float]]:
    """Cut a batch into parts, each with its share of the batch's examples."""
    count = len(batch[0])
    size = count if size is None else min(size, count)
    for start in range(0, count, size):
        part = tuple(field[start : start + size] for field in batch)
        yield part, len(part[0]) / count


def _trained_state(model: nn.Module, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    live = model.state_dict(keep_vars=True)  # keeps requires_grad, also under a tied tensor's second name
    first = {id(tensor): name for name, tensor in reversed(live.items())}
    copies = {
        name: (live[name] if live[name].requires_grad else base[name])
        .detach()
        .to("cpu")
        .clone(memory_format=torch.contiguous_format)
        for name in first.values()
    }
    # Tied tensors are one object under each name: `save` stores that once, as transformers does.
    return {name: copies[first[id(tensor)]] for name, tensor in live.items()}


def _diverged(what: str, mixture: Mixture, step: int, total: int, recipe: TrainRecipe) -> str:
    return (
        f"training on {mixture.label} diverged: {what} at step {step + 1} of {total}; "
        f"lower train.learning_rate ({recipe.learning_rate:g}) or set train.clip_norm"
    )


class MixtureSampler:
    """Endless batches of example numbers, one tensor a member dataset.

    After t steps a dataset has given λ·B·t examples to within less than one, for every t (Tijdeman, "The
    chairman assignment problem", Discrete Mathematics 32, 1980). Each dataset walks its own shuffled epochs,
    keyed by (seed, name), so the k-th example drawn from it is the same in every mixture; a single dataset
    gives the expert's stream.

    Args:
        mixture: The shares λ to draw in.
        sizes: Number of examples by dataset name; members of the mixture at least.
        batch: Examples a step, B.
        seed: Decides the order of the examples.

    Raises:
        ConfigError: If `batch` is below 1.
        MixtureError: If a member has no size.
        DataError: If a member has no examples.
    """

    def __init__(self, mixture: Mixture, sizes: Mapping[str, int], batch: int, seed: int) -> None:
        if batch < 1:
            raise ConfigError(f"a batch needs at least one example, got {batch}")
        unknown = [name for name in mixture.members if name not in sizes]
        if unknown:
            raise MixtureError(f"the mixture {mixture.label} draws from {unknown}; there are {list(sizes)}")
        empty = [name for name in mixture.members if sizes[name] < 1]
        if empty:
            raise DataError(f"the mixture {mixture.label} draws from {empty}, which have no examples")
        self._mixture, self._batch, self._seed = mixture, batch, seed
        self._sizes = {name: sizes[name] for name in mixture.members}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Walk from the first step.

        Yields:
            dict[str, Tensor]: Example numbers by dataset; those that give none are absent. each [b], Σb = B
        """
        members = self._mixture.members
        turns = take_turns([weight for weight in self._mixture.weights if weight > 0])
        streams = {name: shuffled_epochs(name, size, self._seed) for name, size in self._sizes.items()}
        while True:
            picked: dict[str, list[int]] = {name: [] for name in members}
            for _ in range(self._batch):
                name = members[next(turns)]
                picked[name].append(next(streams[name]))
            yield {name: torch.tensor(index) for name, index in picked.items() if index}


def take_turns(weights: list[float]) -> Iterator[int]:
    """Assign slots to n parties of given shares [n] so that none is ever a whole slot ahead or behind."""
    # Tijdeman's rule: of the parties whose deficit λᵢk − cᵢ is at least 1/(2n − 2), the one that would
    # soonest be 1 − 1/(2n − 2) behind gets slot k; then |λᵢk − cᵢ| ≤ 1 − 1/(2n − 2) always. Whole numbers
    # throughout: no rounding piles up over the steps.
    ratios = [Fraction(weight) for weight in weights]
    scale = lcm(*(ratio.denominator for ratio in ratios))
    shares = [int(ratio * scale) for ratio in ratios]
    whole, slack = sum(shares), 2 * len(shares) - 2
    if not slack:
        while True:
            yield 0
    deficits = [0] * len(shares)  # whole · (λᵢk − cᵢ)
    while True:
        deficits = [deficit + share for deficit, share in zip(deficits, shares, strict=True)]
        eligible = [i for i, deficit in enumerate(deficits) if slack * deficit >= whole]
        turn = min(
            eligible, key=lambda i: (Fraction((slack - 1) * whole - slack * deficits[i], shares[i]), i)
        )
        deficits[turn] -= whole
        yield turn


def shuffled_epochs(name: str, size: int, seed: int) -> Iterator[int]:
    """Walk a dataset's example numbers again and again, in an order of (seed, name, epoch)."""
    epoch = 0
    while True:
        digest = hashlib.sha256(f"{seed}\n{name}\n{epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
        yield from torch.randperm(size, generator=generator).tolist()
        epoch += 1
