"""Commands that may take less memory than they need: they say so, or do with less; never a crash."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fault_scenes import ALL, MERGES, RUNS, SCORES, SEARCHES, Rehearsal, Scene
from file_faults import Stage

pytestmark = pytest.mark.slow

#: What a command may add to the address space that its process begins with, in MiB: from next to nothing to
#: plenty. With nothing at all Python itself waits for ever for a thread that could not begin.
HEADROOMS = (1, 4, 9, 16, 40, 64, 100, 200, 500, 2000) if ALL else (1, 16, 100, 2000)
#: What OpenBLAS says before it ends the process by itself, with exit code 1.
GIVES_UP = "OpenBLAS error: Memory allocation still failed"
SCENES = [*MERGES, *SCORES, *SEARCHES, *RUNS[:2]]


def waits_for_a_thread(text: str) -> bool:
    """Whether Python's own `Thread.start` waits for ever for a thread that had no memory to begin with."""
    return "Timeout" in text and re.search(r'threading\.py", line \d+ in start\b', text) is not None


@pytest.mark.parametrize("scene", SCENES, ids=[scene.name for scene in SCENES])
def test_too_little_memory_ends_in_a_line(
    stage: Stage, scene: Scene, record_property: Callable[[str, object], None]
) -> None:
    rehearsal = Rehearsal(scene, stage)
    done = 0
    for headroom in HEADROOMS:
        rehearsal.reset()
        end = rehearsal.act(headroom=headroom << 20)
        assert end.orphans == 0
        if end.code == 0:
            done += 1
            assert rehearsal.differences(end) == []
        elif not waits_for_a_thread(end.err):
            assert end.code == 2 or end.err.startswith(GIVES_UP), (headroom, end.code, end.err)
            assert len(end.complaints) == 1, (headroom, end.err)
        rehearsal.check_inputs()
        rehearsal.check_published()
        rehearsal.check_end()
    record_property("tried:commands with a limit on memory", len(HEADROOMS))
    assert done, "not even with plenty"
