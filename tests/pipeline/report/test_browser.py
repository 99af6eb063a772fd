"""The page in a real browser, headless: it draws, answers a pointer, and loads nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.report_folders import finished, write_curve, write_run, write_scores

from m2m.pipeline.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NAMES = ["law", "code", "<b>bold</b>"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("plotly", reason="plotly, m2m[report], is not installed")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright, m2m[dev], is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed, none of: {', '.join(BROWSERS)}")
    with driver.sync_playwright() as running:
        found = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    write_run(root)
    write_scores(root, NAMES, trained=7)
    write_scores(root, NAMES, merged=5, target="news")
    write_curve(root, "experts", "law", [3.0, 2.0, 1.0])
    (root / "results.json").write_text(json.dumps(finished(NAMES, NAMES)), encoding="utf-8")
    return write_report(root)


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme="light")
    page.faults, page.asked = [], []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector("figure.drawn .points path")
    yield page
    assert page.faults == []
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [report.as_uri()]
    page.close()


def test_every_chart_is_drawn_and_its_table_put_away(opened: Any) -> None:
    figures = opened.locator("figure[data-chart]")
    assert figures.count() == 4
    for place in range(figures.count()):
        assert figures.nth(place).locator("svg.main-svg").first.is_visible()
        assert not figures.nth(place).locator(".still").is_visible()


def test_a_pointer_names_the_mixture_and_a_click_keeps_it(opened: Any) -> None:
    figure = opened.locator("figure[data-chart=candidates]")
    dot = figure.locator(".points path").first
    dot.hover(force=True)
    shown = figure.locator(".hovertext").first
    shown.wait_for()
    assert "merged loss" in shown.text_content()
    dot.click(force=True)
    first, merged, trained = figure.locator(".pinned").inner_text().split("\n")
    assert set(first.split(" + ")) <= set(NAMES)
    assert first in shown.text_content()
    assert merged.startswith("merged loss ")
    assert trained.endswith("(seed 0)")


def test_a_button_shows_another_target(opened: Any) -> None:
    figure = opened.locator("figure[data-chart=candidates]")
    assert "trained on the mixture" in figure.locator(".ytitle").text_content()
    figure.get_by_role("button", name="news").click()
    assert figure.locator(".ytitle").text_content() == "number of datasets"
    assert figure.get_by_role("button", name="news").get_attribute("aria-pressed") == "true"


def test_dark_screens_get_the_page_in_dark(opened: Any) -> None:
    ink = "getComputedStyle(document.querySelector('.xtitle')).fill"
    light = opened.evaluate(ink)
    assert light == opened.evaluate("getComputedStyle(document.body).color")
    opened.emulate_media(color_scheme="dark")
    opened.wait_for_timeout(300)
    assert opened.evaluate(ink) == opened.evaluate("getComputedStyle(document.body).color") != light


def test_paper_gets_what_needs_no_pointer(opened: Any) -> None:
    opened.emulate_media(media="print")
    figure = opened.locator("figure[data-chart=regret]")
    assert not figure.locator(".live").is_visible()
    assert figure.locator(".still table").is_visible()


def test_a_narrow_screen_is_not_overrun(opened: Any) -> None:
    opened.set_viewport_size({"width": 400, "height": 800})
    opened.wait_for_timeout(200)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 400
