"""Plug-in for pytest that adds what the gate needs: `pytest_plugins = ["bench.gate.plugin"]`.

Beside every benchmark it measures the calibration workload and records the benchmark's version.
The file then also lists every collected benchmark, and those that failed or were skipped.
`--costs-only` runs the benchmarks marked `costs` once each, for the costs they record, and leaves
out the others.
"""

import json
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.gate import accepted, timer, versions
from bench.gate.files import SCHEMA, costs_key
from bench.meters import machine
from bench.outside import Json

ONCE = {"min_rounds": 1, "max_time": 1e-6, "min_time": 1e-6, "warmup": False}


class _Seen:
    """What one pytest process has recorded about its benchmarks so far."""

    def __init__(self) -> None:
        self.began = datetime.now(UTC).isoformat()
        self.listed: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.calibration: Any = None


_STATE = pytest.StashKey[_Seen]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--costs-only`."""
    parser.addoption(
        "--costs-only",
        action="store_true",
        default=False,
        help="Run the benchmarks marked 'costs' once each, for their exact costs.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "costs: the benchmark records exact costs")
    _seen(config)


@pytest.hookimpl(tryfirst=True)  # before -k deselects: every benchmark is listed, run or not
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """List every benchmark with its version, and with `--costs-only` keep those with costs."""
    if config.getoption("benchmark_skip") and not config.getoption("benchmark_only"):
        return
    seen, benchmarks = _seen(config), [item for item in items if _is_benchmark(item)]
    seen.listed = {item.nodeid: _version(item) for item in benchmarks}
    for item in benchmarks:
        if item.get_closest_marker("benchmark") is None:
            item.add_marker(pytest.mark.benchmark(timer=timer.seconds))
    if not config.getoption("--costs-only", default=False):
        return
    kept = [item for item in benchmarks if item.get_closest_marker("costs")]
    for item in kept:
        item.add_marker(pytest.mark.benchmark(**ONCE), append=False)
    chosen = set(map(id, kept))
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in chosen])
    items[:] = kept


@pytest.fixture(autouse=True)
def calibrated(request: pytest.FixtureRequest) -> Iterator[None]:
    """Time the calibration workload right before and after a benchmark, on one thread."""
    benchmark = None
    if "benchmark" in request.fixturenames:
        benchmark = request.getfixturevalue("benchmark")
    if benchmark is None or benchmark.disabled:
        yield
        return
    import torch

    torch.set_num_threads(1)
    seen = _seen(request.config)
    benchmark.extra_info["version"] = seen.listed.get(request.node.nodeid)
    if request.config.getoption("--costs-only", default=False):
        yield
        return
    if seen.calibration is None:
        from bench.meters.calibration import Calibration

        seen.calibration = Calibration()
    samples = seen.calibration.seconds(timer=timer.seconds)
    yield
    samples += seen.calibration.seconds(timer=timer.seconds)
    benchmark.extra_info["calibration_seconds"] = statistics.median(samples)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    """Record what failed or was skipped, with the reason."""
    outcome: Any = yield
    report = outcome.get_result()
    if not _is_benchmark(item) or report.passed:
        return
    seen = _seen(item.config)
    if report.failed:
        error = call.excinfo
        text = f"{error.typename}: {error.value}" if error is not None else "failed"
        seen.failed[item.nodeid] = " ".join(text.split())[:200]
    else:
        seen.skipped[item.nodeid] = " ".join(str(report.longrepr[-1]).split())[:200]


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> Json:
    """Describe the machine as run records do: no host name."""
    return machine.describe("cpu").as_json()


def pytest_benchmark_generate_commit_info(config: pytest.Config) -> Json:
    """Return the commit of the tree that was measured."""
    return machine.revision(Path(config.rootpath))._asdict()


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: Json) -> None:
    """Add the section `gate`; drop the single rounds, which are not independent samples."""
    for row in output_json["benchmarks"]:
        row["stats"].pop("data", None)
    output_json["gate"] = _section(config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the file even where no benchmark finished; pytest-benchmark writes none then."""
    config = session.config
    path = config.getoption("benchmark_json", default=None)
    own: Any = getattr(config, "_benchmarksession", None)
    if path is None or own is None or own.disabled or own.benchmarks or not _seen(config).listed:
        return
    if not isinstance(path, Path):  # older versions of pytest-benchmark open the file themselves
        path.close()
        path = Path(path.name)
    content = {
        "machine_info": pytest_benchmark_generate_machine_info(config),
        "commit_info": pytest_benchmark_generate_commit_info(config),
        "benchmarks": [],
        "datetime": datetime.now(UTC).isoformat(),
        "gate": _section(config),
    }
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _section(config: pytest.Config) -> Json:
    """Return the file's section `gate`."""
    seen = _seen(config)
    return {
        "schema": SCHEMA,
        "began": seen.began,
        "ended": datetime.now(UTC).isoformat(),
        "costs_key": costs_key(),
        "costs_only": bool(config.getoption("--costs-only", default=False)),
        "listed": seen.listed,
        "failed": seen.failed,
        "skipped": seen.skipped,
        "accepted": accepted.ids(Path(config.rootpath) / accepted.FILE),
    }


def _seen(config: pytest.Config) -> _Seen:
    """Return this process's state; created on demand, because a conftest may load late."""
    if _STATE not in config.stash:
        config.stash[_STATE] = _Seen()
    return config.stash[_STATE]


def _is_benchmark(item: pytest.Item) -> bool:
    return "benchmark" in getattr(item, "fixturenames", ())


def _version(item: pytest.Item) -> str:
    """Return the version of a benchmark with its fixtures and parameters."""
    function: Any = item
    definitions = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009
    fixtures = [one[-1].func for one in definitions.values()]
    parameters = function.callspec.params if hasattr(function, "callspec") else {}
    return versions.version(function.function, fixtures, parameters)
