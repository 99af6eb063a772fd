"""The linear set-up on a machine that is about to die: a training there stops midway, or its process ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from helpers.linear_setup import LinearSetup, linear_setup
from torch import Tensor, nn

from m2m.setups.protocol import Batch, Target

#: Lies beside the configuration: a line each that is doomed, `worker` or the id of a machine.
DOOMED = "doomed"
#: Begins the name of what appears beside it when a training has met its end: the next one is left in peace.
HIT = "hit "
#: The training step at which that happens.
STEP = 3


class HaltingSetup(LinearSetup):
    """A linear set-up whose trainings stop where a file says so, once each."""

    place = Path()
    steps = 0

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        self.steps += 1
        if self.steps == STEP and _is_doomed(self.place):
            while True:
                time.sleep(1)
        return super().loss(model, batch)


def make(spec: Mapping[str, object]) -> HaltingSetup:
    """Make the set-up of a configuration whose `[setup]` names its folder as `place`."""
    made = linear_setup(seed=11, names="abc", examples=4)
    target = made.targets["target"]
    setup = HaltingSetup(made.datasets, {"target": target, "other": Target(target.test, target.validation)})
    setup.place = Path(str(spec["place"]))
    return setup


def _is_doomed(place: Path) -> bool:
    """Whether this training's machine is doomed; a doomed worker ends here."""
    if not (place / DOOMED).exists():
        return False
    for doomed in (place / DOOMED).read_text().split():
        if doomed not in ("worker", _machine()):
            continue
        try:
            (place / f"{HIT}{doomed}").touch(exist_ok=False)
        except FileExistsError:
            continue
        if doomed == "worker":
            os.kill(os.getpid(), signal.SIGKILL)
        return True
    return False


def _machine() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""
