"""What all tests share: one thread, Hypothesis without stopwatch, a count of skips for want of a GPU."""

from __future__ import annotations

import os

import pytest

# Before anything imports torch: training repeats bit by bit for a given thread count only.
os.environ["OMP_NUM_THREADS"] = os.environ.get("M2M_TEST_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the Hypothesis profile: a build must not fail by luck, and no example has a stopwatch."""
    del config
    from hypothesis import settings

    settings.register_profile("m2m", deadline=None)
    settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
    settings.load_profile("ci" if os.environ.get("CI") else "m2m")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU tests where there is no GPU; a skip is visible and counted, never a silent pass."""
    wanted = [item for item in items if item.get_closest_marker("gpu")]
    if wanted and not _has_gpu():
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much of the GPU's side was not run."""
    reports = terminalreporter.stats.get("skipped", [])
    skipped = [report for report in reports if "gpu" in getattr(report, "keywords", ())]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} GPU tests skipped: no CUDA device", yellow=True)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
