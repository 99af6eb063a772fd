"""In which way candidates are scored, and what of the machine that may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from m2m.errors import ConfigError

if TYPE_CHECKING:
    import torch

#: The ways by name; `auto` takes the one that fits.
Mode = Literal["auto", "resident", "streamed", "stacked"]


def _cpu() -> torch.device:
    from m2m.scoring.live.device import CPU  # the verbs name `Mode`, and check much before torch is needed

    return CPU


@dataclass(frozen=True)
class Means:
    """What is asked for and may be used."""

    #: One of `Mode`.
    mode: str = "auto"
    #: Bytes of the device; None: half of what is free.
    memory: int | None = None
    #: Where candidates are merged and scored.
    device: torch.device = field(default_factory=_cpu)
    #: CPU threads of the merge; None for the kernel's own choice.
    threads: int | None = None
    #: Least passes over the experts when streamed, each with a part of the candidates.
    passes: int = 1
    #: Folder for activations that a streamed pass cannot keep; None: the system's.
    spill: Path | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ConfigError(f"no mode {self.mode!r}; there are {', '.join(get_args(Mode))}")
