"""Commands that meet SIGKILL, SIGTERM or SIGINT at any file operation: given again, they end the same."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable

import pytest
from fault_scenes import MERGES, RUNS, SCORES, SEARCHES, STUDIES, Rehearsal, Scene, tried
from file_faults import Action, End, Fault, Stage

pytestmark = pytest.mark.slow

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
#: How a command may end after each: as the signal asks, or as usual where it came too late.
ENDS = {signal.SIGKILL: {-9}, signal.SIGINT: {130, 0}, signal.SIGTERM: {-15, 143}}
#: How many moments of each scene, where all are tried.
MOMENTS = {
    **dict.fromkeys(MERGES, 20),
    **dict.fromkeys((*SCORES, *SEARCHES), 15),
    **dict.fromkeys(RUNS[:2], 20),
    **dict.fromkeys(RUNS[2:], 6),  # whose workers import everything anew
    **dict.fromkeys(STUDIES, 5),
}
assert sum(MOMENTS.values()) >= 200


def moments(scene: Scene, calls: int, count: int) -> list[Fault]:
    """Draw one moment from each of `count` equal parts of the command's life."""
    drawn = random.Random(scene.name)
    faults = []
    for part in range(count):
        low, high = part * calls // count, (part + 1) * calls // count
        action = drawn.choice((Action.SIGNAL_BEFORE, Action.SIGNAL_AFTER))
        moment = drawn.randrange(low, max(high, low + 1)) + 1
        faults.append(Fault(action, SIGNALS[part % 3], moment, whole_group=bool(drawn.getrandbits(1))))
    return faults


def check_end(end: End, fault: Fault) -> None:
    """The signal must have ended everything that the command had started, without a word too many."""
    assert end.orphans == 0
    lost_a_worker = end.code == 2 and "its worker was killed by" in end.err
    assert end.code in ENDS[signal.Signals(fault.value)] or lost_a_worker, end
    assert "Traceback" not in end.err, end.err


def collect(faults: list[Fault], trial: Callable[[Fault], None]) -> None:
    """Try all, then fail with everything that went wrong."""
    wrong = []
    for fault in faults:
        try:
            trial(fault)
        except AssertionError as error:
            wrong.append(f"{fault}: {str(error)[:3000]}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize(("scene", "count"), MOMENTS.items(), ids=[scene.name for scene in MOMENTS])
def test_a_command_killed_at_any_moment_ends_the_same(
    stage: Stage, scene: Scene, count: int, record_property: Callable[[str, object], None]
) -> None:
    rehearsal = Rehearsal(scene, stage)
    met: Counter[str] = Counter()

    def trial(fault: Fault) -> None:
        rehearsal.reset()
        end = rehearsal.act(fault)
        if end.met:
            met[signal.Signals(fault.value).name] += 1
            check_end(end, fault)
        rehearsal.check_inputs()
        rehearsal.check_published()
        if fault.first % 2:  # and once more, while it goes on
            rehearsal.act(Fault(fault.action, signal.SIGKILL, fault.first // 2 + 1), again=True)
            rehearsal.check_published()
        rehearsal.check_end()

    collect(moments(scene, rehearsal.calls, tried(count)), trial)
    for name, number in met.items():
        record_property(f"tried:commands met {name}", number)
    assert met.total() > tried(count) * 0.9
