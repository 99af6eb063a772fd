"""Fine-tune the base model on a mixture: how experts, mixtures and the final model are all made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from m2m.errors import ConfigError, DataError, MixtureError
from m2m.mixture import Mixture
from m2m.setups.protocol import Batch, Examples, Setup, load_state, trainable
from m2m.support.progress import Progress
from m2m.training.recipe import TrainRecipe
from m2m.training.sampling import MixtureSampler, sampled_mixture

#: Changes when training would give other weights from the same arguments.
REVISION = 1


def fine_tune(
    setup: Setup,
    base: Mapping[str, Tensor],
    mixture: Mixture,
    recipe: TrainRecipe,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
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

    Returns:
        The whole trained state: trainable tensors moved, all others equal to `base`.

    Raises:
        ConfigError: If the loss or the trained weights stop being finite: the recipe is too hot.
    """
    data = _members(setup, mixture)
    sizes = {name: len(examples) for name, examples in data.items()}
    sampler = MixtureSampler(sampled_mixture(mixture, sizes, recipe.sampling), sizes, recipe.batch, seed)
    total = recipe.total_steps(mixture)
    with _own_randomness(seed):
        model = load_state(setup.build(), base)
        _training_mode(model)
        optimizer = _optimizer(list(trainable(model).values()), recipe)
        for step, picked in zip(range(total), sampler, strict=False):
            loss = setup.loss(model, _batch(data, picked)).mean()
            if not torch.isfinite(loss):
                raise ConfigError(_diverged(f"the loss is {loss.item()}", mixture, step, total, recipe))
            _descend(model, optimizer, loss, recipe.learning_rate_at(step, total), recipe.clip_norm)
            if progress is not None:
                progress(step + 1, total, f"training on {mixture.label}")
    state = _trained_state(model, base)
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ConfigError(_diverged(f"{name} is not finite", mixture, total - 1, total, recipe))
    return state


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


def _training_mode(model: nn.Module) -> None:
    """Switch dropout on, but not batch-norm statistics: they do not train, and experts must share them."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.eval()


def _optimizer(parameters: list[nn.Parameter], recipe: TrainRecipe) -> torch.optim.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=recipe.momentum, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr=rate, betas=recipe.betas, weight_decay=decay, fused=True)


def _batch(data: Mapping[str, Examples], picked: Mapping[str, Tensor]) -> Batch:
    parts = [data[name].take(index) for name, index in picked.items()]
    return tuple(torch.cat(fields) for fields in zip(*parts, strict=True))


def _descend(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float, clip_norm: float | None
) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(trainable(model).values(), clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


def _trained_state(model: nn.Module, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    live = model.state_dict(keep_vars=True)  # keeps requires_grad, also under a tied tensor's second name
    source = {name: tensor if tensor.requires_grad else base[name] for name, tensor in live.items()}
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in source.items()
    }


def _diverged(what: str, mixture: Mixture, step: int, total: int, recipe: TrainRecipe) -> str:
    return (
        f"training on {mixture.label} diverged: {what} at step {step + 1} of {total}; "
        f"lower train.learning_rate ({recipe.learning_rate:g}) or set train.clip_norm"
    )
