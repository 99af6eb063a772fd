"""What products with Hessians and Gauss-Newton matrices cost, in gradient passes and in memory.

python benchmarks/curvature.py products | table | large | forward

A byte GPT of the quickstart's shape (`products --wide`: width 528; `large`: that width, 20 M parameters) on
random bytes, one thread, the language set-up's own loss. One gradient pass is `LossSurface.gradient` over the
same examples; each figure is the median of the rounds, all cases in turn. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, autograd
from torch.nn.attention import SDPBackend, sdpa_kernel

from analysis.curvature import LossSurface, curvature, quadratic_expansion, second_differences
from analysis.interaction import second_order
from analysis.trained_run import study_setup
from m2m.setups.byte_gpt import ByteModel
from m2m.setups.byte_gpt_options import Pretraining, Shape
from m2m.setups.language import LanguageSetup
from m2m.setups.protocol import Examples, load_state, trainable
from m2m.support.process_memory import peak_resident_bytes

SMALL = Shape(layers=3, width=96, heads=3, context=128)
WIDE = Shape(layers=2, width=528, heads=8, context=128)
LARGE = Shape(layers=6, width=528, heads=8, context=128)
DATASETS = 4


def language_setup(shape: Shape, examples: int, batch: int) -> tuple[LanguageSetup, dict[str, Tensor]]:
    """Make the language set-up on random bytes, each dataset of its own range, and an untrained θ₀."""
    model = ByteModel(shape, Pretraining(), torch.zeros(1, dtype=torch.uint8))
    draw = torch.Generator().manual_seed(0)
    size = (examples, shape.context + 1)
    datasets = {
        f"d{k}": Examples((torch.randint(0, 60 * (k + 1), size, generator=draw),)) for k in range(DATASETS)
    }
    module = model.build()
    module.initialise(0)
    setup = LanguageSetup(model, datasets, {}, "benchmark", {"loss": False}, batch)
    return setup, module.state_dict()


def medians(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Time all cases in turn, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def vmapped(setup: LanguageSetup, base: dict[str, Tensor], examples: Examples, vectors: Tensor) -> Tensor:
    """Multiply all vectors at once by vmap over double backward: what sharing a graph is held against."""
    model = load_state(setup.build(), base)
    parameters = list(trainable(model).values())
    with sdpa_kernel(SDPBackend.MATH):
        loss = setup.loss(model, examples.tensors).mean()
    gradients = autograd.grad(loss, parameters, create_graph=True)
    parts = vectors.split([p.numel() for p in parameters], dim=1)
    weights = [part.view(-1, *p.shape) for part, p in zip(parts, parameters, strict=True)]
    found = autograd.grad(gradients, parameters, weights, is_grads_batched=True)
    return torch.cat([part.flatten(1) for part in found], dim=1)


def products(shape: Shape, rounds: int) -> None:
    """Time one and six products of either matrix against a gradient pass."""
    setup, base = language_setup(shape, examples=4, batch=4)
    surface, data = LossSurface(setup, base), setup.datasets["d0"]
    vectors = torch.randn(6, surface.size, generator=torch.Generator().manual_seed(1))
    cases: dict[str, Callable[[], object]] = {"a gradient": lambda: surface.gradient(data)}
    for matrix in ("hessian", "ggn"):
        for count in (1, 6):
            name = f"{count} × {matrix}"
            cases[name] = lambda m=matrix, c=count: surface.products(data, vectors[:c], matrix=m)
    cases["6 × hessian, vmap"] = lambda: vmapped(setup, base, data, vectors)
    gap = (vmapped(setup, base, data, vectors) - surface.products(data, vectors)).norm()
    assert gap <= 1e-3 * surface.products(data, vectors).norm()
    seconds = medians(cases, rounds)
    unit = seconds["a gradient"]
    print(f"{surface.size} parameters, 4 × 128 bytes; a gradient pass takes {unit * 1e3:.0f} ms\n")
    print("| products | gradient passes | a product |\n| --- | ---: | ---: |")
    for name, value in seconds.items():
        if name != "a gradient":
            print(f"| {name} | {value / unit:.2f} | {value / unit / int(name[0]):.2f} |")


def table(rounds: int) -> None:
    """Time the table of all K² products H_k τ_j against K² products one by one."""
    setup, base = language_setup(SMALL, examples=4, batch=4)
    surface = LossSurface(setup, base)
    tasks = torch.randn(DATASETS, surface.size, generator=torch.Generator().manual_seed(1))

    def together() -> None:
        for data in setup.datasets.values():
            surface.products(data, tasks)

    def one_by_one() -> None:
        for data in setup.datasets.values():
            for task in tasks:
                surface.products(data, task[None])

    seconds = medians({"together": together, "one by one": one_by_one}, rounds)
    ratio = seconds["together"] / seconds["one by one"]
    print("| K | products | together | one by one | ratio |\n| ---: | ---: | ---: | ---: | ---: |")
    whole, single = (f"{seconds[name]:.2f} s" for name in ("together", "one by one"))
    print(f"| {DATASETS} | {DATASETS**2} | {whole} | {single} | {ratio:.2f} |")


def large(examples: int) -> None:
    """Measure time and memory of all H_k g_j and H_k τ_j of a 20 M-parameter model, float32."""
    empty = peak_resident_bytes()
    setup, base = language_setup(LARGE, examples=examples, batch=1)
    surface = LossSurface(setup, base)
    model = sum(tensor.numel() * tensor.element_size() for tensor in base.values())
    tasks = torch.randn(DATASETS, surface.size, generator=torch.Generator().manual_seed(1))
    ready, start = peak_resident_bytes(), time.perf_counter()
    curvature(surface, tasks)
    table_s, table_peak = time.perf_counter() - start, peak_resident_bytes()
    start = time.perf_counter()
    second_order(surface)
    print("| step | time | peak RSS | in models of this size |\n| --- | ---: | ---: | ---: |")
    for name, seconds, rss in (
        ("torch imported", 0.0, empty),
        (f"model, θ₀ and {DATASETS} τ", 0.0, ready),
        (f"{2 * DATASETS**2} products: H_k g_j, H_k τ_j", table_s, table_peak),
        (f"{DATASETS**2} products: residual's terms", time.perf_counter() - start, peak_resident_bytes()),
    ):
        print(f"| {name} | {seconds:.0f} s | {rss >> 20} MiB | {(rss - empty) / model:.1f} |")
    print(f"\n{surface.size} parameters, {model >> 20} MiB; {examples} examples of 128 bytes a dataset")


def forward(rounds: int) -> None:
    """Hold the forward-only route against products: agreement and cost, float64."""
    plain, state = language_setup(SMALL, examples=4, batch=4)
    setup = study_setup(plain)
    surface, data = LossSurface(setup, setup.cast(state)), setup.datasets["d0"]
    draw = torch.Generator().manual_seed(1)
    tasks = 1e-3 * torch.randn(DATASETS, surface.size, generator=draw, dtype=torch.float64)

    def loss(alpha: np.ndarray) -> float:
        return surface.value(data, at=torch.from_numpy(alpha) @ tasks)

    backward, ahead = quadratic_expansion(surface, data, tasks), second_differences(loss, DATASETS)
    gap = np.abs(ahead.model.curvature - backward.curvature)
    cases: dict[str, Callable[[], object]] = {
        "a gradient": lambda: surface.gradient(data),
        "products": lambda: quadratic_expansion(surface, data, tasks),
        "merged losses": lambda: second_differences(loss, DATASETS),
    }
    seconds = medians(cases, rounds)
    unit = seconds["a gradient"]
    print("| route | evaluations | gradient passes |\n| --- | --- | ---: |")
    print(f"| products | {DATASETS} products, 3 gradients, 1 loss | {seconds['products'] / unit:.1f} |")
    print(f"| merged losses | {ahead.evaluations} losses | {seconds['merged losses'] / unit:.1f} |")
    relative = gap.max() / np.abs(backward.curvature).max()
    stated = (gap / ahead.curvature_error).max()
    print(f"\nlargest gap {relative:.1e} of the largest entry, {stated:.2g} of its stated error")


def main() -> None:
    """Read the command line and run one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("products", "table", "large", "forward"))
    parser.add_argument("--rounds", type=int, default=7, help="rounds that are timed (default %(default)s)")
    parser.add_argument("--wide", action="store_true", help="products: width 528 instead of 96")
    parser.add_argument("--examples", type=int, default=2, help="large: examples a dataset (default 2)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.part == "large":
        large(args.examples)
    elif args.part == "products":
        products(WIDE if args.wide else SMALL, args.rounds)
    elif args.part == "table":
        table(args.rounds)
    else:
        forward(args.rounds)


if __name__ == "__main__":
    main()
