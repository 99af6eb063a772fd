"""Commands whose k-th file operation fails or falls short: done right or refused in a line, nothing lost."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from fault_scenes import MERGES, RUNS, SCORES, SEARCHES, STUDIES, WRITERS, Rehearsal, Scene, tried
from file_faults import ERRORS, MOST_CALLS, Action, Fault, Kind, Stage
from test_kills import collect

pytestmark = pytest.mark.slow

#: Most operations of a scene that fail, where all are tried; of more some are taken at equal distances.
TRIALS = {
    **dict.fromkeys(MERGES, 70),
    **dict.fromkeys((*SCORES, *SEARCHES, *WRITERS), 60),
    **dict.fromkeys(RUNS[:2], 25),
    **dict.fromkeys(STUDIES, 6),
}


def faults(kinds: list[Kind], most: int) -> Iterator[Fault]:
    """Yield a fault for each operation, or for as many as may be tried; every third lasts to the end."""
    step = max(1.0, len(kinds) / most)
    for trial in range(min(most, len(kinds))):
        call = int(trial * step) + 1
        kind = kinds[call - 1]
        if kind not in ERRORS:
            continue
        if kind in (Kind.READ, Kind.WRITE) and trial % 4 == 3:
            yield Fault(Action.FALL_SHORT, 0, call, MOST_CALLS if trial % 3 == 0 else call)
            continue
        error = ERRORS[kind][trial % len(ERRORS[kind])]
        lasts = trial % 3 == 0 and error != errno.EINTR
        yield Fault(Action.FAIL, error, call, MOST_CALLS if lasts else call)


@pytest.mark.parametrize(("scene", "most"), TRIALS.items(), ids=[scene.name for scene in TRIALS])
def test_whatever_operation_fails_nothing_is_lost(
    stage: Stage, scene: Scene, most: int, record_property: Callable[[str, object], None]
) -> None:
    rehearsal = Rehearsal(scene, stage)
    met: Counter[str] = Counter()

    def trial(fault: Fault) -> None:
        rehearsal.reset()
        end = rehearsal.act(fault)
        if end.met:
            met[errno.errorcode.get(fault.value, "a short count")] += 1
        assert end.orphans == 0
        if end.code == 0:
            assert rehearsal.differences(end) == []
        else:
            assert fault.action is Action.FAIL, end.err
            # Where threads take turns, the k-th operation may be one that the system never interrupts.
            met_kind = end.kinds[fault.first - 1]
            assert fault.value != errno.EINTR or errno.EINTR not in ERRORS.get(met_kind, ()), end.err
            assert end.is_refusal, (end.code, end.err)
        rehearsal.check_inputs()
        rehearsal.check_published()
        rehearsal.check_end()

    collect(list(faults(rehearsal.whole.kinds, tried(most))), trial)
    for name, number in met.items():
        record_property(f"tried:commands met {name} ({os.strerror(getattr(errno, name, 0))})", number)
    assert met
