"""Two commands on one folder at the same time: one goes on and the other is told, or both are right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fault_scenes import ALL, MERGES, RUNS, SCORES, SEARCHES, STUDIES, WRITERS, Rehearsal, Scene
from file_faults import Stage

pytestmark = pytest.mark.slow

#: How far the first command has come, as a share of its file operations, when the second one begins.
SHARES = (0.2, 0.5, 0.8, 0.95)
SCENES = [*MERGES, *SCORES, *SEARCHES, *RUNS[:2], *STUDIES, *WRITERS]


@pytest.mark.parametrize("scene", SCENES, ids=[scene.name for scene in SCENES])
def test_a_second_command_is_told_or_ends_the_same(
    stage: Stage, scene: Scene, record_property: Callable[[str, object], None]
) -> None:
    rehearsal = Rehearsal(scene, stage)
    shares = SHARES if ALL and scene not in STUDIES else SHARES[1:3]
    for share in shares:
        rehearsal.reset()
        # The first stops there, holding whatever it holds, until the second has ended.
        stage.begin(rehearsal.command(), 1 + int(share * rehearsal.calls))
        second = rehearsal.act(again=True)
        end = stage.go_on()
        assert second.code == 0 or second.is_refusal, second
        assert end.code == 0 or end.is_refusal, end
        assert 0 in (end.code, second.code), (end, second)
        assert rehearsal.differences(end if end.code == 0 else second) == []
    record_property("tried:pairs of commands on one folder", len(shares))
