"""One stage a session, and the count of what was tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("fault_scenes")
from fault_scenes import SETTINGS  # noqa: E402
from file_faults import Stage  # noqa: E402


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    room = tmp_path_factory.mktemp("faults")
    (room / "work").mkdir()
    made = Stage(room / "work", SETTINGS)
    yield made
    made.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many faults were met, of which kind; tests note them as properties `tried:KIND`."""
    tried: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        if report.when == "call":
            for name, count in report.user_properties:
                if name.startswith("tried:"):
                    tried[name.removeprefix("tried:")] += count
    for name, count in sorted(tried.items()):
        terminalreporter.write_line(f"{count} {name}")
