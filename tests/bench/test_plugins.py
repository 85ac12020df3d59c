"""Plug-in files: what they add, what cells keep of them, and refusals in one sentence."""

import dataclasses
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import algorithms
from bench.cli import app
from bench.errors import BenchError
from bench.plan import grid, plugins
from bench.policies import checkpointed
from bench.results.record import Plugin
from bench.study import study
from datasets import plugin_source
from datasets.paths import sha256

GOOD = """
import algorithms
from algorithms.bc import Bc

class Mine(Bc):
    pass

algorithms.register("mine", Mine, settings="BcSettings", summary="cloning again")
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget plug-ins before and after each test."""
    before = dict(algorithms.TABLE)
    monkeypatch.setattr(plugins, "_hashes", {})
    monkeypatch.setattr(plugins, "_files", {})
    yield
    algorithms.TABLE.clear()
    algorithms.TABLE.update(before)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str = GOOD, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_file_is_executed_once_and_known_by_its_hash(write: Callable[..., Path]) -> None:
    path = write()
    digest = plugins.load(path)
    assert plugins.load(path) == digest  # executed again it would find its own name taken
    assert plugins.of("mine") == Plugin(file="mine.py", sha256=digest, modules=None)
    assert plugins.of("bc") is None
    assert plugins.loaded() == [(str(path), digest)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1", "registers nothing"),
        ("import algorithms\n1 / 0", r"raises ZeroDivisionError: division by zero \(line 2\)"),
        ("def f(:", r"SyntaxError: invalid syntax \(mine.py, line 1\)"),
        ("raise SystemExit", "raises SystemExit"),
        (GOOD.replace('"mine"', '"bc"'), "the name 'bc' is taken"),
        (GOOD.replace('"mine"', '"run"'), "'run' cannot be an algorithm's name"),
        (GOOD.replace('"mine"', '"Mine.x"'), "'Mine.x' cannot be an algorithm's name"),
        (GOOD.replace("(Bc)", "(algorithms.base.Algorithm)"), "lacks act_from, acting_parameters"),
        (GOOD.replace("(Bc)", ""), "must be a class derived from"),
        (GOOD.replace('"BcSettings"', "dict"), "must be a dataclass derived from"),
        (GOOD.replace(", summary", ', steps_setting="steps", summary'), "a setting 'steps'"),
        (GOOD.replace(", summary", ', colour="red", summary'), "the colour 'red' of mine is none"),
        (GOOD.replace(", summary", ', marker="oo", summary'), "the marker 'oo' of mine is none"),
        (GOOD.replace(", summary", f', label="{"x" * 31}", summary'), "does not fit figures"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    text: str, says: str, write: Callable[..., Path]
) -> None:
    path = write(text)
    before = dict(algorithms.TABLE)
    with pytest.raises(BenchError, match=says) as error:
        plugins.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert before == algorithms.TABLE
    path.write_text(GOOD)
    plugins.load(path)  # the cure


def test_records_say_how_a_plugin_wants_to_be_shown(
    write: Callable[..., Path], make_cell: Callable[..., Any]
) -> None:
    look = ', label="Mine", colour="#AA3377", summary'
    plugins.load(write(GOOD.replace(", summary", look)))
    record = grid.new_record(make_cell("mine")).as_json()
    assert record["algorithm"]["look"] == {"label": "Mine", "colour": "#AA3377", "marker": None}
    assert grid.new_record(make_cell()).algorithm.look is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"nowhere.py cannot be read \(No such file"):
        plugins.load(tmp_path / "nowhere.py")


def test_what_a_file_registered_before_it_failed_is_taken_back(write: Callable[..., Path]) -> None:
    with pytest.raises(BenchError):
        plugins.load(write(GOOD + "\n1 / 0\n"))
    assert "mine" not in algorithms.TABLE


def test_a_class_named_by_a_string_is_found_when_it_is_made() -> None:
    from algorithms.contract.examples import team

    algorithms.register("late", "algorithms.bc:Bc", settings="BcSettings", summary="late")
    assert algorithms.make("late", team()).name == "late"
    algorithms.register("never", "algorithms.bc:Nothing", settings="BcSettings", summary="never")
    with pytest.raises(algorithms.AlgorithmError, match=r"registered as algorithms\.bc:Nothing"):
        algorithms.make("never", team())


def test_settings_of_ours_are_known_by_name_wherever_they_lie() -> None:
    for settings in ("Dom2Settings", "FqlSettings"):
        name = settings.lower()
        algorithms.register(name, "algorithms.bc:Bc", settings=settings, summary="borrowed")
        assert type(algorithms.default_settings(name)).__name__ == settings


def test_the_source_is_part_of_a_cells_identity(
    write: Callable[..., Path], make_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment more is another cell; cells of our own algorithms stay what they were."""
    config = make_config(algorithms=("bc", "mine"), plugins=(write(),))
    ours, first = grid.cells(config)
    assert "plugin" not in ours.identity()
    assert first.identity()["plugin"] == plugins.load(config.plugins[0])
    del algorithms.TABLE["mine"]
    monkeypatch.setattr(plugins, "_hashes", {})
    same, second = grid.cells(make_config(algorithms=("bc", "mine"), plugins=(write(GOOD + "#"),)))
    assert same.id == ours.id
    assert second.id != first.id
    assert second.canonical == first.canonical


@pytest.mark.slow
def test_workers_receive_it_and_its_cells_load_again(
    write: Callable[..., Path], make_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(algorithms=("mine", "bc"), plugins=(write(),))
    mine, ours = study.finished(config)
    assert mine["results"] == ours["results"]  # it is bc by another name
    assert mine["algorithm"]["plugin"]["file"] == "mine.py"
    checkpointed.load_policy(mine["cell"], config.out)

    del algorithms.TABLE["mine"]
    monkeypatch.setattr(plugins, "_hashes", {})
    with pytest.raises(BenchError, match=r"by mine of the plug-in mine.py: give that file"):
        checkpointed.load_policy(mine["cell"], config.out)
    with pytest.raises(BenchError, match=r"another version of the plug-in mine\.py"):
        checkpointed.load_policy(mine["cell"], config.out, plugin=write(GOOD + "# changed\n"))


def test_workers_refuse_a_file_that_has_changed(write: Callable[..., Path]) -> None:
    with pytest.raises(BenchError, match="has changed since the study began"):
        plugins.load_expected([[str(write()), "0" * 64]])


def test_a_team_of_a_plug_in_can_be_rendered(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    assert app.main(["render", "--run", "abc", "--out", str(tmp_path), "--plugin", str(path)]) == 2
    assert "there is no cell 'abc'" in capsys.readouterr().err  # the flag itself is understood
    assert "mine" in algorithms.names()


HELPED = GOOD.replace("import algorithms\n", "import algorithms\n{line}\n", 1)
FORMS = {
    "plain": ("import aid", "aid.py"),
    "package": ("from aids.first import rate", "aids/first.py"),
    "inside a function": ("def later():\n    import aid", "aid.py"),
    "by a name": ("import importlib; importlib.import_module('a' + 'id')", "aid.py"),
    "of a helper": ("import second", "aid.py"),
}


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write a module beside the plug-in, importable there; forget it afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def put(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def forget() -> None:
        for _, name in list(plugin_source.loaded_from(tmp_path / "mine.py", before)):
            del sys.modules[name]
        importlib.invalidate_caches()

    put.forget = forget  # type: ignore[attr-defined]
    yield put
    forget()


@pytest.mark.parametrize("form", FORMS)
def test_a_module_beside_the_file_is_part_of_the_identity(
    form: str,
    write: Callable[..., Path],
    beside: Any,
    make_config: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line, helper = FORMS[form]
    monkeypatch.setattr(plugin_source, "_noted", {})
    beside("second.py", "import aid\n")
    beside("unused.py", "rate = 1.0\n")
    beside("aids/__init__.py", "")
    recorded = []
    for value in ("1.0", "2.0", "1.0"):
        beside(helper, f"rate = {value}\n")
        config = make_config(algorithms=("mine",), plugins=(write(HELPED.format(line=line)),))
        (cell,) = grid.cells(config)
        assert cell.plugin is not None
        assert helper in cell.plugin.modules
        assert "unused.py" not in cell.plugin.modules
        assert cell.identity()["plugin"] == algorithms.row("mine").plugin
        recorded.append(cell.id)
        del algorithms.TABLE["mine"]
        monkeypatch.setattr(plugins, "_hashes", {})
        beside.forget()
    assert recorded[0] == recorded[2] != recorded[1]


def test_the_script_that_starts_a_study_is_no_part_of_it(tmp_path: Path) -> None:
    """It may lie beside the plug-in; torch brings it in a second time, as `__mp_main__`."""
    (tmp_path / "mine.py").write_text(GOOD)
    script = tmp_path / "start.py"
    script.write_text(
        "from bench.plan import plugins\n"
        'plugins.load("mine.py")\n'
        'print(plugins.of("mine").modules)\n'
    )
    home = Path(plugins.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(home)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["None"]


def test_our_own_modules_are_no_part_of_it(write: Callable[..., Path]) -> None:
    """A plug-in may lie in a checkout of om2p-bench, beside our packages."""
    path = write()
    (path.parent / "algorithms").mkdir()
    (path.parent / "algorithms/__init__.py").write_text("")
    (path.parent / "algorithms/bc.py").write_text("x = 1\n")
    assert plugins.load(path) == sha256(path)


def test_a_record_says_which_module_has_changed(
    write: Callable[..., Path], beside: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside("aid.py", "rate = 1.0\n")
    path = write(HELPED.format(line="import aid"))
    plugins.load(path)
    then = plugins.of("mine")
    beside("aid.py", "rate = 2.0\n")
    assert plugins.changed(then, plugins._described(path, "x")) == " (aid.py has changed)"
    same = dataclasses.replace(then, sha256="y")
    assert plugins.changed(same, plugins.of("mine")) == " (mine.py has changed)"


def test_a_package_is_hashed_with_its_modules(tmp_path: Path) -> None:
    """Of an entry point's package all that it imports counts, of its neighbours nothing."""
    package = tmp_path / "site-packages" / "mypackage"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from . import method\nimport other\n")
    (package / "method.py").write_text("from .parts import loss\n")
    (package / "parts.py").write_text("loss = 1\n")
    (package.parent / "other.py").write_text("")
    recorded = plugin_source.modules_of(package / "__init__.py", package.parent)
    assert list(recorded) == ["mypackage/method.py", "mypackage/parts.py"]
