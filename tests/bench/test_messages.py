"""Every error class of the project, shown by the command line: a sentence, never a traceback."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import app
from bench.errors import BenchError
from bench.results import store
from bench.training import faults
from bench.training.runner import ExecutionOptions, run_cell

PACKAGES = ("algorithms", "bench", "datasets", "reports")


def error_classes() -> list[type[Exception]]:
    """Return every exception class that a module of ours defines."""
    classes: dict[str, type[Exception]] = {}
    for package in PACKAGES:
        home = importlib.import_module(package)
        for module in pkgutil.walk_packages(home.__path__, f"{package}."):
            if module.name == "bench.__main__":
                continue
            for name, value in vars(importlib.import_module(module.name)).items():
                ours = inspect.isclass(value) and value.__module__.split(".")[0] in PACKAGES
                if ours and issubclass(value, BaseException):
                    classes[f"{value.__module__}.{name}"] = value
    return [classes[name] for name in sorted(classes)]


CLASSES = error_classes()


def test_the_classes_are_found() -> None:
    names = {kind.__name__ for kind in CLASSES}
    assert names >= {"BenchError", "SchemaError", "AlgorithmError", "DatasetError", "Stopped"}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "command", [["status", "--out", "."], ["plan"], ["list", "algorithms"], ["data", "verify"]]
)
def test_no_class_reaches_the_user_as_a_traceback(
    kind: type[Exception],
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Raised in the middle of a command; several lines become one."""

    def fail(*_: Any, **__: Any) -> None:
        raise kind("the file x is broken:\n  delete it")

    for place in (
        "bench.results.store.read_records", "bench.study.resume.plan_study", "bench.cli.run.lines",
        "bench.cli.data.check_all",
    ):  # fmt: skip
        monkeypatch.setattr(place, fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = app.main(command)
    output, errors = capsys.readouterr()
    assert output == ""
    assert "Traceback" not in errors
    assert errors.startswith("error: ")
    assert len(errors.strip().splitlines()) == 1
    assert "the file x is broken: delete it" in errors
    own = issubclass(kind, app.user_errors())
    assert code == (2 if own else 1)
    assert own or list(tmp_path.glob("om2p-bench-*.txt"))  # the traceback is kept in a file


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_no_class_ends_a_cell_without_a_sentence(
    kind: type[Exception],
    make_cell: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Raised inside a cell: the record has the sentence, the log the traceback."""

    def fail(*_: Any, **__: Any) -> None:
        raise kind("the loss is strange:\n  use another")

    monkeypatch.setattr("bench.training.runner.Parts", fail)
    cell = make_cell()
    record = run_cell(cell, tmp_path / cell.id, ExecutionOptions())
    if kind is faults.Stopped:
        assert record["status"] == "queued"
        return
    assert record["status"] == "failed"
    assert "the loss is strange" in record["error"]
    assert store.read_run(tmp_path / cell.id)["error"] == record["error"]
    assert "Traceback" in (tmp_path / cell.id / "log.txt").read_text()


def test_other_exceptions_name_their_type_and_keep_their_traceback() -> None:
    assert faults.sentence(KeyError("x")).startswith("KeyError: 'x' (the traceback")
    assert "\n" not in faults.sentence(ValueError("a\nb"))
    assert issubclass(store.SchemaError, BenchError)
