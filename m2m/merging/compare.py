"""How two models differ, tensor by tensor, in one streamed read of both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m2m.checkpoint.aligned import matched
from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.checks import same_bytes
from m2m.checkpoint.differences import differences
from m2m.checkpoint.header import MERGEABLE, TensorInfo
from m2m.checkpoint.writer import Entry
from m2m.errors import CheckpointError
from m2m.merging.compiled import RiderPass
from m2m.merging.look import look_through
from m2m.merging.lora.experts import expert_tensors
from m2m.merging.methods.gram import Points, look_at_products
from m2m.merging.methods.linear import LINEAR
from m2m.merging.plan.plan import build_plan
from m2m.merging.plan.tensors import TensorSource, WantedTensor
from m2m.merging.plan.window import Window
from m2m.merging.recipe.models import open_references, read_model
from m2m.merging.stream.memory import collector_paused
from m2m.merging.stream.passes import PassRun
from m2m.support.checked import Positive, checked
from m2m.support.progress import Progress

_FIRST, _SECOND = 0, 1


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two vectors a and b of P elements differ. Norms are of float64 sums, in the engine's order.

    Attributes:
        elements: P.
        changed: Elements whose values differ.
        norm: ‖a‖; nothing of what is no float, like all that follow.
        other_norm: ‖b‖.
        distance: ‖b − a‖.
        cosine: ⟨a, b⟩ / (‖a‖ ‖b‖); nothing where one of them is zero.
        largest: max |b − a|.
    """

    elements: int
    changed: int
    norm: float | None = None
    other_norm: float | None = None
    distance: float | None = None
    cosine: float | None = None
    largest: float | None = None

    @property
    def relative(self) -> float:
        """‖b − a‖ / ‖a‖; infinite where only a is zero, or where what is no float differs."""
        if not self.changed:
            return 0.0
        return self.distance / self.norm if self.norm and self.distance is not None else math.inf


@dataclass(frozen=True, kw_only=True)
class TensorDifference(Difference):
    """How a tensor of the first model differs from the second's.

    Attributes:
        name: The tensor's name in the first model.
        shape: Its shape.
        dtypes: Types in which the two store it, as safetensors names them.
    """

    name: str
    shape: tuple[int, ...]
    dtypes: tuple[str, str]


@dataclass(frozen=True)
class ModelDifference:
    """How two models differ.

    Attributes:
        first: Where the first model is.
        second: Where the second is.
        tensors: What both hold in one shape, in the first model's order.
        only_first: Names of tensors that only the first holds.
        only_second: Names of tensors that only the second holds.
        reshaped: Tensors of two shapes: name, the first's, the second's.
        notes: What is stored otherwise without meaning anything else.
        doubts: Settings and tokens that differ (`m2m.checkpoint.differences`).
        whole: All float tensors as one vector; nothing if there is none.
    """

    first: str
    second: str
    tensors: tuple[TensorDifference, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    notes: tuple[str, ...]
    doubts: tuple[str, ...]
    whole: Difference | None

    @property
    def equal(self) -> bool:
        """Whether both hold the same tensors with the same values."""
        alone = self.only_first or self.only_second or self.reshaped
        return not alone and not any(tensor.changed for tensor in self.tensors)

    def to_dict(self) -> dict[str, Any]:
        """Turn it into what JSON can hold.

        Returns:
            The attributes by name, and `equal`.
        """
        return {**asdict(self), "equal": self.equal}


@checked()
def diff(
    first: str | Path,
    second: str | Path,
    *,
    memory: str | int = "256MiB",
    threads: Positive | None = None,
    progress: Progress | None = None,
) -> ModelDifference:
    """Say how two models differ, tensor by tensor; both are read once, streaming.

    Args:
        first: A checkpoint, `MODEL+ADAPTER`, or a hub id, as recipes name models.
        second: Another; an adapter alone goes on top of the first.
        memory: Most memory that this may add to what the process holds.
        threads: Workers; as many as there are usable cores when not given.
        progress: Is told bytes compared, bytes in all and what is going on.

    Returns:
        What differs.

    Raises:
        CheckpointError: If a model is malformed, changes meanwhile, is not finite, or shares no tensor with
            the other.
        RecipeError: If a model is named in a way that recipes do not know, or the first is an adapter.
    """  # noqa: DOC502 - raised by what is called
    one, other = read_model(str(first), "the first model"), read_model(str(second), "the second model")
    opened = open_references([one, other], one, averaged=False)
    models = (opened[one], opened[other])
    found, notes = matched(*models)
    if not found:
        raise CheckpointError(
            f"{second}: no tensor has the name of one of {first}: it holds {models[1].names[0]!r}, the other "
            f"{models[0].names[0]!r}; these are different models"
        )
    rows = [(info, found[name]) for name, info in models[0].tensors.items() if name in found]
    alike = [(a, b) for a, b in rows if a.shape == b.shape]
    floats = [(a, b) for a, b in alike if {a.dtype, b.dtype} <= MERGEABLE]
    pairs = [paired(a, expert_tensors(models, (a.name, b.name))) for a, b in floats]
    looks = compare_tensors(models, pairs, memory, threads, progress)
    for a, b in alike:
        if a.name in looks:
            continue
        changed = 0 if same_bytes(a, b) else a.elements
        looks[a.name] = TensorDifference(
            name=a.name, shape=a.shape, dtypes=(a.dtype, b.dtype), elements=a.elements, changed=changed
        )
    for model in models:
        model.check_unchanged()
    known = {b.name for _, b in rows}
    return ModelDifference(
        str(first),
        str(second),
        tuple(looks[name] for name in models[0].tensors if name in looks),
        tuple(name for name in models[0].tensors if name not in found),
        tuple(name for name in models[1].tensors if name not in known),
        tuple((a.name, a.shape, b.shape) for a, b in rows if a.shape != b.shape),
        notes,
        tuple(differences(*models)),
        as_one_vector([looks[a.name] for a, _ in floats]),
    )


def paired(first: TensorInfo, sources: Sequence[TensorSource]) -> WantedTensor:
    """Ask for a float tensor of two models, called as in the first, to be compared."""
    return WantedTensor(Entry(first.name, first.dtype, first.shape), tuple(sources), ((1.0, 0.0),))


def compare_tensors(
    models: tuple[Checkpoint, Checkpoint],
    pairs: Sequence[WantedTensor],
    memory: str | int = "256MiB",
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, TensorDifference]:
    """Compare float tensors of one shape, as `paired` asks for them; by the first's name."""
    # CheckpointError if one changes meanwhile or is not finite.
    looks: dict[str, TensorDifference] = {}
    if pairs:
        with collector_paused():
            plan = build_plan(models, pairs, {"": {}}, LINEAR)
        look_through(plan, lambda window, run: looks.update(_look(window, run)), memory, threads, progress)
    return looks


def _look(window: Window, run: PassRun) -> Iterator[tuple[str, TensorDifference]]:
    apart = look_at_products(
        window, [Points.whole(each, _FIRST, _SECOND, 1) for each in window.tensors], counts_signs=True
    )
    both = look_at_products(window, [Points.whole(each, -1, _FIRST, 2) for each in window.tensors])
    run(RiderPass(window.core, apart, both), window)
    for number, tensor in window.merged():
        [largest], [changed], _ = apart.signs(number)
        first, product, second = both.triangles(number)
        norm, other = math.sqrt(first), math.sqrt(second)
        yield (
            tensor.entry.name,
            TensorDifference(
                name=tensor.entry.name,
                shape=tensor.entry.shape,
                dtypes=(tensor.sources[_FIRST].dtype, tensor.sources[_SECOND].dtype),
                elements=math.prod(tensor.entry.shape),
                changed=changed,
                norm=norm,
                other_norm=other,
                distance=math.sqrt(apart.triangles(number)[0]),
                cosine=_cosine(product, norm, other),
                largest=largest,
            ),
        )


def _cosine(product: float, norm: float, other: float) -> float | None:
    # Rounding may carry it a little beyond 1.
    return max(-1.0, min(1.0, product / norm / other)) if norm and other else None


def as_one_vector(tensors: Sequence[TensorDifference]) -> Difference | None:
    """How two models differ in some tensors together; nothing if there is none."""
    if not tensors:
        return None
    norm, other, distance = (
        math.hypot(*(getattr(tensor, name) for tensor in tensors))
        for name in ("norm", "other_norm", "distance")
    )
    product = math.fsum((t.cosine or 0.0) * (t.norm or 0.0) * (t.other_norm or 0.0) for t in tensors)
    return Difference(
        elements=sum(tensor.elements for tensor in tensors),
        changed=sum(tensor.changed for tensor in tensors),
        norm=norm,
        other_norm=other,
        distance=distance,
        cosine=_cosine(product, norm, other),
        largest=max(tensor.largest or 0.0 for tensor in tensors),
    )
