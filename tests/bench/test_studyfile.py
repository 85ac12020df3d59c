"""A study as a file: what it says is what flags would say; errors name line and key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import app
from bench.errors import BenchError
from bench.plan import grid, studyfile
from bench.plan.config import RunConfig
from bench.plan.flags import parse_overrides, sweep, write_overrides

Capture = pytest.CaptureFixture[str]
FILE = """\
algorithms = ["bc", "om2p"]
datasets = ["mpe/spread/random"]
seeds = 2
preset = "smoke"
out = "{out}"

[set]
"run.updates" = 9

[sweep]
"om2p.q_weight" = [0.1, 0.3]

[[group]]
[[group]]
algos = "bc"
data-seed = "paired"
seeds = [3]
  [group.set]
  "run.updates" = 7
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(FILE.format(out=tmp_path / "results"))
    return path


def planned(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    assert app.main(["plan", *arguments, "--format", "json"]) == 0, capsys.readouterr().err
    return list(json.loads(capsys.readouterr().out))


def ids(*configs: RunConfig) -> set[str]:
    return {cell.id for config in configs for cell in grid.cells(config)}


def test_a_file_means_what_flags_mean(file: Path, capsys: Capture, tmp_path: Path) -> None:
    rows = planned(capsys, str(file))
    shared: dict[str, Any] = {"datasets": ("mpe/spread/random",), "preset": "smoke"}
    expected = ids(
        RunConfig(algorithms=("bc",), seeds=(0, 1), overrides={"run.updates": 9}, **shared),
        *(
            RunConfig(
                algorithms=("om2p",), seeds=(0, 1), **shared,
                overrides={"run.updates": 9, "om2p.q_weight": weight},
            )
            for weight in (0.1, 0.3)
        ),
        RunConfig(
            algorithms=("bc",), seeds=(3,), data_seed="paired", overrides={"run.updates": 7},
            **shared,
        ),
    )  # fmt: skip
    assert {row["cell"] for row in rows} == expected
    assert len(rows) == len(expected) == 2 + 4 + 1
    assert not (tmp_path / "results").exists()


def test_a_flag_that_is_typed_wins_over_file_and_group(file: Path, capsys: Capture) -> None:
    rows = planned(capsys, str(file), "--seeds", "7,", "--set", "run.updates=5")
    assert {row["seed"] for row in rows} == {7}
    assert {row["updates"] for row in rows} == {5}


@pytest.mark.usefixtures("forked_workers")
def test_a_study_runs_and_keeps_its_file(
    file: Path, capsys: Capture, tmp_path: Path, small_flags: list[str]
) -> None:
    arguments = ["run", str(file), "--algos", "bc", *small_flags]
    assert app.main(arguments) == 0, capsys.readouterr().err
    (copy,) = (tmp_path / "results").glob("study-*.toml")
    assert copy.read_text() == file.read_text()
    assert studyfile.read(file).sha256.startswith(copy.stem.removeprefix("study-"))


def test_a_sweep_from_the_command_line_and_from_python(capsys: Capture, tmp_path: Path) -> None:
    out = str(tmp_path / "results")
    swept = planned(
        capsys, "--algos", "bc,om2p", "--seeds", "1", "--preset", "smoke", "--out", out,
        "--set", "om2p.q_weight=0.1,0.3", "--set", "om2p.hidden=[8, 8],[16, 16]",
    )  # fmt: skip
    assert len(swept) == 1 + 4
    config = RunConfig(
        algorithms=("bc", "om2p"), seeds=(0,), preset="smoke",
        overrides={"om2p.q_weight": sweep([0.1, 0.3]), "om2p.hidden": sweep([[8, 8], [16, 16]])},
    )  # fmt: skip
    assert {row["cell"] for row in swept} == ids(config)
    assert parse_overrides(write_overrides(config.overrides)) == config.overrides


def test_a_sweep_that_is_a_slip_is_refused() -> None:
    many = {f"om2p.{key}": sweep(list(range(1, 40))) for key in ("q_weight", "fd_step")}
    with pytest.raises(BenchError, match="1,521 combinations: at most 1,000"):
        grid.combinations(RunConfig(overrides=many))


def test_the_template_runs_as_it_is(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "mine.toml"
    assert app.main(["init", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    rows = planned(capsys, str(path))
    assert {row["cell"] for row in rows} == ids(RunConfig())
    assert app.main(["init", str(path)]) == 2  # never over a file that is there
    assert "is there already" in capsys.readouterr().err
    everything = "\n".join(line.removeprefix("# ") for line in path.read_text().splitlines())
    assert 'datasets = ["mpe/tag/expert"]' in everything


BAD = [
    ('seeds = 5\nalgoritms = ["bc"]\n', "line 2, algoritms", "algorithms"),
    ("seeds = 'few'\n", "line 1, seeds", "neither a count"),
    ("preset = 5\n", "preset=5", "text"),
    ("[sweep]\n'om2p.q_weight' = 3\n", "line 2, om2p.q_weight", "list of values"),
    ("group = 3\n", "line 1, group", "[[group]]"),
    ("set = 3\n", "line 1, set", "table"),
    ("seeds = \n", "no valid TOML", "line 1"),
    ("[set]\n'om2p.q_wieght' = 3\n", "unknown setting om2p.q_wieght", "q_weight"),
]


@pytest.mark.parametrize(("text", "where", "cure"), BAD)
def test_errors_name_line_key_and_cure(
    text: str, where: str, cure: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text)
    assert app.main(["plan", str(path), "--out", str(tmp_path / "none")]) == 2
    sentence = capsys.readouterr().err
    assert where in sentence
    assert cure in sentence
    assert sentence.count("\n") == 1


def test_a_missing_file_names_what_writes_one(tmp_path: Path, capsys: Capture) -> None:
    assert app.main(["run", str(tmp_path / "none.toml")]) == 2
    assert "bench init" in capsys.readouterr().err


def test_a_job_script_gives_every_group_its_own_flags(
    file: Path, capsys: Capture, make_config: Callable[..., Any]
) -> None:
    assert app.main(["plan", str(file), "--format", "slurm"]) == 0
    script = capsys.readouterr().out
    assert "om2p.q_weight=0.1" in script
    assert "om2p.q_weight=0.3" in script
    assert "--data-seed paired" in script
    assert "run.updates=7" in script


def test_other_commands_take_what_the_file_says_for_all_and_their_own_table(
    tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'algorithms = ["bc"]\ndatasets = ["mpe/spread/random"]\npreset = "smoke"\n'
        f'out = "{tmp_path}/results"\n[tune]\nout = "{tmp_path}/tuning"\ntrials = 2\nupdates = 3\n'
    )
    assert app.main(["tune", str(path), "--plan", "json"]) == 0, capsys.readouterr().err
    rows = json.loads(capsys.readouterr().out)
    assert [(row["algorithm"], row["dataset"], row["updates"]) for row in rows] == [
        ("bc", "mpe/spread/random", 3)
    ] * 2
    path.write_text('algorithms = ["bc", "om2p"]\n[measure]\nrouns = 3\n')
    assert app.main(["measure", str(path)]) == 2
    assert "measure has no flag rouns; did you mean rounds?" in capsys.readouterr().err
    path.write_text('algorithms = ["bc"]\n[measure]\nrounds = "seven"\n')
    assert app.main(["measure", str(path)]) == 2
    assert "rounds: 'seven' is no int" in capsys.readouterr().err
    path.write_text('algorithms = ["bc"]\n[[group]]\nseeds = 3\n')
    assert app.main(["tune", str(path)]) == 2
    assert "take groups and sweeps out" in capsys.readouterr().err
