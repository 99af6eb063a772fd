"""The linear set-up on a machine that is about to die: a training there stops midway, or its process ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from helpers.doomed import is_doomed
from helpers.linear_setup import LinearSetup, linear_setup
from torch import Tensor, nn

from m2m.setups.protocol import Batch, Target

#: The training step at which that happens.
STEP = 3


class HaltingSetup(LinearSetup):
    """A linear set-up whose trainings stop where a file says so, once each."""

    place = Path()
    steps = 0

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        self.steps += 1
        if self.steps == STEP and is_doomed(self.place):
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
