"""The training recipe: one set of numbers that every expert and every mixture is trained with."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.support.checked import Natural, Positive
from m2m.support.devices import cuda_number
from m2m.support.schema import check_whole

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["constant", "cosine", "linear"]
Sampling = Literal["balanced", "proportional", "temperature"]
Count = Literal["examples", "tokens"]
Horizon = Literal["matched", "pooled"]
Adapter = Literal["lora"]
Dtype = Literal["float32", "bfloat16"]
#: What changes no weight, but for the last bits of another device.
_NOT_DECIDING = {"save_moments", "checkpoint_activations", "device", "save_every"}
_LATER = {"temperature", "count", "adapter", "lora", "micro_batch", "dtype"}


@dataclass(frozen=True)
class LoraOptions:
    """The `[train.lora]` table: which layers get factors, and of what size.

    Attributes:
        r: Rank of the factors.
        alpha: The factors' product is scaled by alpha / r.
        dropout: Share of a layer's inputs that the factors do not see in a step.
        target_modules: Names of linear layers, or what they end in, such as `q_proj`; empty: all linear
            layers but the output head. Only layers count that `trainable` of `[setup.base]` has trained.
        rslora: Whether the scale is alpha / √r.
        dora: Whether rows are rescaled too (DoRA); experts are then whole models and not adapters.
    """

    r: Positive = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    rslora: bool = False
    dora: bool = False

    def __post_init__(self) -> None:
        check_whole("train.lora.r", self.r, 1)
        if not 0 < self.alpha < float("inf"):
            raise ConfigError(f"train.lora.alpha must be above 0 and finite, got {self.alpha!r}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"train.lora.dropout must be at least 0 and below 1, got {self.dropout!r}")


@dataclass(frozen=True)
class TrainRecipe:
    """How to fine-tune; uniform over experts and mixtures, as merging needs (arXiv 2505.16066, section 3).

    Attributes:
        steps: Optimizer steps of an expert, T.
        batch: Examples a step, B, over all datasets of the mixture together.
        learning_rate: Peak learning rate η.
        optimizer: AdamW, or SGD with momentum.
        weight_decay: Decoupled for AdamW, added to the gradient for SGD.
        momentum: SGD's momentum.
        betas: AdamW's decay rates of the first and second moment.
        schedule: Learning rate after the warm-up: held, or brought to zero as a cosine or a line.
        warmup: Steps over which the learning rate rises linearly to its peak.
        clip_norm: Largest gradient norm, or missing for no clipping.
        sampling: `balanced` draws in the mixture's own shares λ; `proportional` in shares of λ × dataset
            size, what concatenating the files would do; `temperature` in shares of λ × size^(1/T), which
            lies between them.
        temperature: T of that sampling: 1 is `proportional`, and the larger it is, the more `balanced`.
        count: What shares and sizes are counted in: `examples`, or the `tokens` of examples, of which long
            ones have more.
        horizon: `matched` trains a mixture for T steps; `pooled` for T steps a member dataset.
        save_moments: Whether an expert's folder also gets AdamW's second moments, 4 bytes a trained weight,
            for the merge method `adam_merge`. It changes no weight.
        adapter: `"lora"` trains low-rank factors of linear layers by PEFT, see `[train.lora]`; experts and
            mixtures are then adapters on disk, and merges their exact sums.
        lora: The table `[train.lora]`.
        micro_batch: Examples that go through the model at once; gradients of a batch are then added up in
            parts. Missing: the whole batch.
        dtype: Type that the model computes in; weights, gradients and optimizer stay float32.
        checkpoint_activations: Whether activations are computed again on the way back instead of being kept
            in memory; for models of transformers. It changes no weight on the CPU.
        device: Where it is trained: `cpu`, `cuda`, `cuda:1` and so on, or `auto`: a GPU if there is one.
        save_every: Steps after which the training's state is saved, so that one that is killed goes on there
            and ends in the same weights. Missing: it begins anew.
    """

    steps: Positive
    batch: Positive
    learning_rate: float
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.0
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = "constant"
    warmup: Natural = 0
    clip_norm: float | None = None
    sampling: Sampling = "balanced"
    temperature: float | None = None
    count: Count = "examples"
    horizon: Horizon = "matched"
    save_moments: bool = False
    adapter: Adapter | None = None
    lora: LoraOptions | None = None
    micro_batch: Positive | None = None
    dtype: Dtype = "float32"
    checkpoint_activations: bool = False
    device: str = "cpu"
    save_every: Positive | None = None

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("warmup", 0)):
            check_whole(f"train.{name}", getattr(self, name), least)
        self._real("learning_rate", above=0.0)
        self._real("weight_decay", at_least=0.0)
        self._real("momentum", at_least=0.0, below=1.0)
        if self.clip_norm is not None:
            self._real("clip_norm", above=0.0)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"train.betas must be two numbers in [0, 1), got {self.betas!r}")
        if self.warmup > self.steps:
            raise ConfigError(f"train.warmup must be at most train.steps ({self.steps}), got {self.warmup}")
        if self.optimizer == "adamw" and self.momentum:
            raise ConfigError(f"train.momentum is SGD's; AdamW takes betas, got momentum = {self.momentum!r}")
        self._choice("optimizer", get_args(Optimizer))
        self._choice("schedule", get_args(Schedule))
        self._choice("sampling", get_args(Sampling))
        self._choice("count", get_args(Count))
        self._choice("horizon", get_args(Horizon))
        if self.temperature is not None:
            self._real("temperature", above=0.0)
        if (self.sampling == "temperature") != (self.temperature is not None):
            raise ConfigError('train.temperature and train.sampling = "temperature" want each other')
        if not isinstance(self.save_moments, bool):
            raise ConfigError(f"train.save_moments must be true or false, got {self.save_moments!r}")
        if self.save_moments and self.optimizer != "adamw":
            raise ConfigError("train.save_moments keeps AdamW's second moments; SGD has none")
        self._check_adapter()
        self._choice("dtype", get_args(Dtype))
        for name in ("micro_batch", "save_every"):
            if getattr(self, name) is not None:
                check_whole(f"train.{name}", getattr(self, name), 1)
        if not isinstance(self.checkpoint_activations, bool):
            raise ConfigError(
                f"train.checkpoint_activations must be true or false, got {self.checkpoint_activations!r}"
            )
        if self.device != "auto":
            cuda_number(self.device)

    def _check_adapter(self) -> None:
        if self.adapter is None:
            if self.lora is not None:
                raise ConfigError('[train.lora] is there, but not train.adapter = "lora", which takes it')
            return
        self._choice("adapter", get_args(Adapter))
        if self.save_moments:
            raise ConfigError("train.save_moments is of whole models; moments of factors merge nothing")
        given: Any = self.lora or {}
        options = given if isinstance(given, LoraOptions) else LoraOptions(**given)
        object.__setattr__(self, "lora", options)  # the table may be missing

    @property
    def size_power(self) -> float:
        """The power of a dataset's size that its share is weighed by."""
        match self.sampling:
            case "balanced":
                return 0.0
            case "proportional":
                return 1.0
            case "temperature":
                assert self.temperature is not None
                return 1 / self.temperature

    @property
    def deciding(self) -> dict[str, Any]:
        """All that decides the trained weights, by name; what is only kept beside them is left out.

        Keys that came later are left out at their defaults: earlier runs say nothing of them.
        """
        later = {field.name: field.default for field in fields(self) if field.name in _LATER}
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in _NOT_DECIDING and not (name in later and value == later[name])
        }

    def total_steps(self, mixture: Mixture) -> int:
        """Count the optimizer steps this recipe gives to a mixture.

        Args:
            mixture: The mixture to train on; a single dataset gets `steps` under either horizon.

        Returns:
            T for the matched horizon, T × |S| for the pooled one.
        """
        return self.steps * (len(mixture.members) if self.horizon == "pooled" else 1)

    def learning_rate_at(self, step: int, total: int) -> float:
        """Give the learning rate of one step.

        Args:
            step: Step number, from 0.
            total: Steps in all, as from `total_steps`.

        Returns:
            The learning rate; above zero for every step below `total`.
        """
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / (total - self.warmup)
        match self.schedule:
            case "cosine":
                return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
            case "linear":
                return self.learning_rate * (1 - done)
            case _:
                return self.learning_rate

    def _real(
        self, name: str, above: float = -math.inf, at_least: float = -math.inf, below: float = math.inf
    ) -> None:
        value = getattr(self, name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ConfigError(f"train.{name} must be a number, got {value!r}")
        if not (above < value < below and value >= at_least):
            floor = f"above {above:g}" if at_least == -math.inf else f"at least {at_least:g}"
            ceiling = "finite" if below == math.inf else f"below {below:g}"
            raise ConfigError(f"train.{name} must be {floor} and {ceiling}, got {value!r}")

    def _choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ConfigError(f"train.{name} must be one of {', '.join(choices)}, got {value!r}")
