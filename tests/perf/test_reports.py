"""Benchmarks of reports: 10,000 runs in under 40 s, a page of 1,000 under 5 MB and 5 s."""

import resource
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import reports
from tests.reports.conftest import FOURTEEN, write_study

SECONDS, CORES = 40.0, 2  # of processor time, drawing spread over the cores: others may be busy
PAGE_BYTES, PAGE_SECONDS = 5_000_000, 5.0
TASKS = (
    "mpe/spread", "mpe/tag", "mpe/world", "mamujoco/halfcheetah-2x3", "mamujoco/hopper-3x1",
    "mamujoco/ant-2x4",
)  # fmt: skip
QUALITIES = ("expert", "medium-expert", "medium", "medium-replay", "random-medium", "random")


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the studies without waiting for the disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def spent(who: int) -> float:
    """Return the processor seconds of this process, or of its children that have ended."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def test_a_report_of_10_000_runs(benchmark: Any, tmp_path: Path, quick_disk: None) -> None:
    """14 algorithms on 36 datasets with 20 seeds: every figure, table and the page."""
    datasets = [f"{task}/{quality}" for task in TASKS for quality in QUALITIES]
    out = write_study(tmp_path / "results", FOURTEEN, datasets, range(20))
    before = [spent(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    written = benchmark.pedantic(reports.write, args=(out, tmp_path / "out"), rounds=1)
    after = [spent(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    alone, spread = (end - start for start, end in zip(before, after, strict=True))
    benchmark.extra_info["processor_seconds"] = alone + spread
    benchmark.extra_info["page_bytes"] = written.page.stat().st_size
    assert written.cells == 10_080
    assert alone + spread / CORES < SECONDS


def test_a_page_of_1_000_runs_with_its_figures(
    benchmark: Any, tmp_path: Path, quick_disk: None
) -> None:
    """10 algorithms on 10 datasets with 10 seeds; the page is opened in a real browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    datasets = [f"{task}/{quality}" for task in TASKS[:5] for quality in QUALITIES[:2]]
    out = write_study(tmp_path / "results", FOURTEEN[:10], datasets, range(10))
    written = reports.write(out, tmp_path / "out")
    assert written.cells == 1_000
    assert written.page.stat().st_size < PAGE_BYTES
    benchmark.extra_info["page_bytes"] = written.page.stat().st_size
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()

        def read() -> float:
            started = time.perf_counter()
            tab.goto(written.page.as_uri(), wait_until="load")
            tab.fill("[data-filter=algorithm]", "om2p")
            return time.perf_counter() - started

        assert benchmark.pedantic(read, rounds=3) < PAGE_SECONDS
        assert tab.locator("#run-count").inner_text() == "1000 of 1000 runs"
        browser.close()
