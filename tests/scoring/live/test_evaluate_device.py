"""Scoring on a device: what goes there and what stays, the same bits merged, scores within rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.second_device import second_device
from helpers.token_task import ImageTask
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from m2m import _core, ops
from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.manifest import FileHashes
from m2m.errors import ConfigError, InputError
from m2m.scoring import LiveModel, Scores, score_model
from m2m.scoring.bench import Bench
from m2m.scoring.choice import Choice, Means, choose, size_of
from m2m.scoring.live.device import CPU, device_errors, free_bytes, open_device
from m2m.scoring.live.resident import AHEAD
from m2m.scoring.live.staging import STAGED_BYTES, moved_state, sum_from_host
from m2m.scoring.models import Models
from m2m.scoring.source import ScoreSource
from m2m.scoring.tasks.scorer import device_of, repeatable, scoring
from m2m.testing.tolerance import gamma, unit_roundoff

State = dict[str, Tensor]
WEIGHTS = np.array([[0.3, 0.7], [1.0, 0.0], [0.5, -0.25]])
CUDA = torch.device("cuda", 1)
U = unit_roundoff(torch.float32)
DEVICES = ["lazy", pytest.param("cuda", marks=pytest.mark.gpu)]


class Net(nn.Module):
    """A linear classifier of 3 × 8 × 8 images: tied and channels-last weights, buffers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(192, 5)
        self.copy = nn.Parameter(self.head.weight.data)  # another object, the same memory
        self.conv = nn.Conv2d(2, 3, (2, 2)).to(memory_format=torch.channels_last)
        self.register_buffer("steps", torch.tensor([3, 4]))
        self.register_buffer("sign", torch.tensor(1.0), persistent=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the task's name for it
        logits: Tensor = self.head(input.flatten(1)) * self.sign
        return logits


def state(seed: int) -> State:
    torch.manual_seed(seed)
    return {name: value.clone() for name, value in Net().state_dict().items() if name != "copy"}


BASE, EXPERTS = state(0), [state(1), state(2)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device that is not the CPU."""
    return second_device(monkeypatch) if request.param == "lazy" else torch.device("cuda", 0)


def bound(row: list[float]) -> float:
    """How far two float32 evaluations of a candidate's losses may be apart.

    Each logit is an inner product of K terms and a bias: |fl(z) − z| ≤ γ_{K+1} (|W||x| + |b|) in any order of
    summation (Higham, section 3.1). The loss ln Σ exp(z_k) − z_y moves by at most twice the largest change of
    a logit; its own few operations, of numbers up to |z| + ln 5, each round once, exp and ln within 2 units.
    """
    model = Net()
    LiveModel(model, BASE, EXPERTS).merge([row])
    images = ImageTask().images.flatten(1)
    sizes = images.abs() @ model.head.weight.abs().T + model.head.bias.abs()
    largest = sizes.max().item()
    logits = gamma(192 + 1, U) * largest
    loss = gamma(5 + 8, U) * 2 * (largest + float(np.log(5)))
    return 2 * (2 * logits + loss)  # of either evaluation


# ---- names and amounts ----


@pytest.mark.parametrize("name", ["gpu", "cuda:", "CUDA", "", "cuda:0 "])
def test_an_unknown_device_is_refused_in_the_words_of_merge(name: str) -> None:
    with pytest.raises(ConfigError, match="wanted cpu, cuda, or cuda:1 and so on"):
        open_device(name)


def test_a_device_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "cuda_archs", "")
    with pytest.raises(ConfigError, match="device 'cuda:0': this m2m was built without CUDA"):
        open_device("cuda")
    monkeypatch.setattr(_core, "cuda_archs", "90")
    with pytest.raises(ConfigError, match=r"device 'cuda:999' cannot be used: torch .* finds . CUDA devices"):
        open_device("cuda:999")


def test_the_cpu_has_memory() -> None:
    assert open_device("cpu") == CPU
    assert 2**20 < free_bytes(CPU) < 2**50


def test_a_module_is_where_its_first_tensor_is() -> None:
    assert device_of(nn.Linear(1, 1, device="meta")).type == "meta"
    assert device_of(nn.BatchNorm1d(1, affine=False, device="meta")).type == "meta"
    assert device_of(nn.ReLU()) == CPU


# ---- experts in host memory ----


@given(
    dtype=st.sampled_from(ops.DTYPES),
    elements=st.integers(0, 700),
    candidates=st.integers(1, 3),
    staged=st.integers(1, 4096),
    seed=st.integers(0, 9),
)
def test_pieces_do_not_change_a_bit(
    dtype: torch.dtype, elements: int, candidates: int, staged: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    experts = [torch.randn(elements, generator=generator).to(dtype) for _ in range(3)]
    weights = torch.randn(candidates, 3, generator=generator)
    whole = ops.weighted_sum(experts, weights)
    outs = [torch.full_like(experts[0], torch.nan) for _ in range(candidates)]
    sum_from_host(outs, experts, weights, staged=staged)
    assert all(torch.equal(got, wanted) for got, wanted in zip(outs, whole, strict=True))


def test_what_is_one_tensor_under_two_names_is_moved_once(device: torch.device) -> None:
    one, other = torch.arange(3.0), torch.arange(3.0)
    moved = moved_state({"a": one, "b": other, "c": one}, device)
    assert moved["a"] is moved["c"]
    assert moved["a"] is not moved["b"]
    assert {tensor.device for tensor in moved.values()} == {device}


# ---- on a device ----


@pytest.mark.parametrize("copied", [True, False], ids=["copied", "from_host"])
def test_merged_weights_are_those_of_the_cpu_to_the_bit(device: torch.device, copied: bool) -> None:
    experts = [moved_state(expert, device) if copied else expert for expert in EXPERTS]
    here, there = Net(), Net()
    on_cpu, on_device = LiveModel(here, BASE, EXPERTS), LiveModel(there, BASE, experts, device=device)
    assert device_of(there) == device
    on_device.merge_ahead(WEIGHTS)
    for at, row in enumerate(WEIGHTS):
        on_cpu.merge(row[None])
        on_device.merge(row[None])
        assert_same_state(here, there)
        on_device.merge(WEIGHTS[:1])
        on_device.show(at)
        assert_same_state(here, there)
    on_device.restore()
    on_cpu.restore()
    assert_same_state(here, there)
    assert device_of(there) == device


def assert_same_state(here: nn.Module, there: nn.Module) -> None:
    moved = there.state_dict()
    for name, wanted in here.state_dict().items():
        assert torch.equal(moved[name].cpu(), wanted), name


@pytest.mark.parametrize("copied", [True, False], ids=["copied", "from_host"])
@pytest.mark.parametrize("mode", ["resident", "stacked"])
def test_scores_are_those_of_the_cpu_within_rounding(
    device: torch.device, mode: str, copied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (device.type, mode) == ("lazy", "stacked"):
        pytest.skip("torch's lazy device has no batched programs")

    def scores_on(place: torch.device) -> dict[int, np.ndarray]:
        choice = Choice(mode, "", 2, copied and place != CPU)
        monkeypatch.setattr("m2m.scoring.source.choose", lambda *_: choice)
        with source_of(tmp_path, place) as source:
            found = {m: scores.values["loss"] for m, [scores] in walk(source)}
            assert source.choice.mode == mode
        return found

    wanted, got = scores_on(CPU), scores_on(device)
    assert list(got) == list(range(len(WEIGHTS)))
    for m, losses in got.items():
        np.testing.assert_allclose(losses, wanted[m], rtol=0, atol=bound(WEIGHTS[m].tolist()))
    assert len({float(losses.mean()) for losses in got.values()}) == len(WEIGHTS)


def models_in(folder: Path) -> Models:
    models = []
    for name, tensors in zip(["base", "a", "b"], [BASE, *EXPERTS], strict=True):
        if not (folder / name).exists():
            save(tensors, folder / name)
        models.append(Checkpoint(folder / name))
    return Models(models[0], {"a": models[1], "b": models[2]}, FileHashes(models[0].files))


def source_of(folder: Path, device: torch.device, build: Callable[[], nn.Module] = Net) -> ScoreSource:
    means = Means(memory=2**30, device=device)
    return ScoreSource(models_in(folder), Bench(build, build, "1", [ImageTask()]), means)


def walk(source: ScoreSource) -> Iterator[tuple[int, list[Scores]]]:
    return source.walk(WEIGHTS, ["a+b", "a", "b"], source.bench.scorers)


def chosen(folder: Path, memory: int, mode: str = "auto") -> Choice:
    return choose(models_in(folder), [ImageTask()], len(WEIGHTS), Means(mode, device=CUDA), memory)


# ---- the choice ----


def test_experts_are_copied_if_they_fit_else_pass_through_else_it_is_an_error(tmp_path: Path) -> None:
    size = size_of(models_in(tmp_path))
    everything, least = 4 * size, 2 * size + STAGED_BYTES
    fits = chosen(tmp_path, everything + size, "resident")
    assert (fits.mode, fits.copied, fits.ahead) == ("resident", True, 2)
    assert "on cuda:1: 2 experts, live module and 2 candidates a pass take" in fits.why
    tight = chosen(tmp_path, least, "resident")
    assert (tight.copied, tight.ahead) == (
        least >= everything,
        1 + min(AHEAD - 1, (least - everything) // size),
    )
    assert chosen(tmp_path, everything).mode == "stacked"
    for mode in ("resident", "stacked"):
        with pytest.raises(ConfigError, match=f"not enough memory for mode {mode}: on cuda:1: live module"):
            chosen(tmp_path, everything - 1, mode)


def test_a_large_model_passes_from_host_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m2m.scoring.choice.STAGED_BYTES", 64)
    size = size_of(models_in(tmp_path))
    choice = chosen(tmp_path, 3 * size + 64, "resident")
    assert (choice.copied, choice.ahead) == (False, 2)
    assert "pieces of 2 experts in host memory and 2 candidates a pass take" in choice.why


def test_streaming_on_a_device_names_the_ways_that_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="on the CPU only, not on cuda:1: asked for; use device=cpu"):
        chosen(tmp_path, 2**40, "streamed")
    with pytest.raises(ConfigError, match="on the CPU only, not on cuda:1: on cuda:1: live module, pieces"):
        chosen(tmp_path, 1)


# ---- what goes wrong under way ----


class Greedy(Net):
    """Finds no memory."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the task's name for it
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore.")


class Half(Net):
    """Makes a tensor where it should not."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the task's name for it
        return super().forward(input) + torch.zeros(1, device="meta")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Greedy, r"too little memory: CUDA out of memory. Tried to allocate 20.00 GiB.; a smaller memory"),
        (Half, r"meets tensors that are not on cpu: .*; it must make new ones where its inputs are"),
    ],
)
def test_a_device_that_fails_is_one_error(tmp_path: Path, kind: type[Net], message: str) -> None:
    with source_of(tmp_path, CPU, kind) as source, pytest.raises(InputError, match=message):
        list(walk(source))


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="a bug"), device_errors(CPU):
        raise RuntimeError("a bug")


def test_cudas_libraries_are_asked_for_the_same_bits_every_time() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul

    def flags() -> tuple[bool, ...]:
        return matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic

    before = flags()
    with repeatable():
        assert flags() == (False, False, False, True)
    assert flags() == before
    with scoring(Net()):
        assert flags() == before, "nothing is changed for the CPU"


@pytest.mark.gpu
def test_memory_that_torch_keeps_counts_as_free() -> None:
    device = open_device("cuda")
    before = free_bytes(device)
    held = torch.empty(2**26, dtype=torch.uint8, device=device)
    assert free_bytes(device) <= before - 2**26
    del held
    assert free_bytes(device) > before - 2**26


@pytest.mark.gpu
def test_a_gpu_gives_the_same_scores_twice() -> None:
    live = LiveModel(Net(), BASE, EXPERTS, device=torch.device("cuda", 0))
    live.merge(WEIGHTS[:1])
    first, second = (score_model(live.model, [ImageTask()])[0].values["loss"] for _ in range(2))
    assert (first == second).all()
