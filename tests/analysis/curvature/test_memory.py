"""Products of a transformer of 20 M parameters stay within a stated number of models."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from m2m.support import process_memory

#: Datasets N of the table.
COUNT = 2

PROGRAM = """
import sys, torch
from analysis.curvature import LossSurface, curvature
from m2m.support.process_memory import peak_resident_bytes as peak
from m2m.setups.byte_gpt import Shape
from m2m.setups.byte_gpt import ByteModel, Pretraining
from m2m.setups.language import LanguageSetup
from m2m.setups.protocol import Examples

torch.set_num_threads(1)
count, examples = int(sys.argv[1]), int(sys.argv[2])
model = ByteModel(Shape(6, 528, 8, 64), Pretraining(), torch.zeros(1, dtype=torch.uint8))
tokens = lambda: Examples((torch.randint(0, 256, (examples, 65)),))
setup = LanguageSetup(model, {f"d{k}": tokens() for k in range(count)}, {}, "test", {"loss": False}, 1)
empty = peak()
module = model.build()
module.initialise(0)
surface = LossSurface(setup, module.state_dict())
curvature(surface, torch.randn(count, surface.size))
print(surface.size, (peak() - empty) / (4 * surface.size))
"""


#: The C library gives freed tensors back at once, so that its heap's holes are not taken for ours.
EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536"}


@pytest.mark.slow
@pytest.mark.skipif(process_memory.anonymous_bytes() is None, reason="needs Linux's /proc")
def test_twenty_million_parameters_in_bounded_memory() -> None:
    used = {}
    for examples in (1, 2):
        command = [sys.executable, "-c", PROGRAM, str(COUNT), str(examples)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | EXACT)
        size, used[examples] = done.stdout.split()
        assert int(size) > 20e6
    # Three copies of the model (ours, the surface's, θ₀), 3N vectors; of a product the gradient, the result
    # in parts and in one piece; at most as much again for one batch's activations, differentiated twice.
    assert float(used[1]) <= 3 + 3 * COUNT + 3 + 3
    assert float(used[2]) <= float(used[1]) + 0.1  # more data, no more memory
