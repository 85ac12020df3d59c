"""Flags of a run: stated once, and present wherever a program takes or passes on a run's flags."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import pytest

from bench.cli import app
from bench.errors import BenchError
from bench.launchers import ray_task, slurm
from bench.plan import config, flags, grid
from bench.plan.config import RunConfig
from bench.study import resume

Capture = pytest.CaptureFixture[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wider(RunConfig):
    """The flags of a run and one more, as if RunConfig had a new field."""

    naps: Annotated[
        int,
        flags.Bounds(ge=0),
        flags.Flag(config.MACHINE, "Seconds of rest between cells: --naps 3", metavar="SECONDS"),
    ] = 0


@pytest.fixture
def wider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the wider class where every reader of a run's flags finds it."""
    monkeypatch.setattr(config, "RunConfig", Wider)


@pytest.mark.usefixtures("wider")
def test_a_new_field_is_a_flag_everywhere(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the help of `run` and `plan`, in a RunConfig, in Slurm's script, on Ray's nodes."""
    for command in ("run", "plan"):
        assert app.main([command, "--help"]) == 0
        text = capsys.readouterr().out
        section = text.partition("\nThis machine:")[2].partition("\n\n")[0]
        assert "--naps SECONDS" in section
        assert "Seconds of rest between cells" in section
    seen: list[Any] = []

    def stop(made: Any) -> None:
        seen.append(made)
        raise BenchError("seen")

    monkeypatch.setattr(resume, "plan_study", stop)
    assert app.main(["plan", "--naps", "7", "--algos", "bc", "--seeds", "3,"]) == 2
    (made,) = seen
    assert (made.naps, made.algorithms, made.seeds) == (7, ("bc",), (3,))
    cells = grid.cells(made)
    assert " --naps 7" in slurm.script([cells], made, {})
    job = ray_task.task_job(made, [cells[0]], tmp_path, "token", "code", True)
    assert config.from_dict(json.loads(json.dumps(job["config"]))) == made
    assert app.main(["plan", "--naps", "-1"]) == 2
    assert "naps=-1 is not allowed" in capsys.readouterr().err


def test_every_flag_survives_the_way_to_words_and_back() -> None:
    """What Slurm's script says, typed again, is the same configuration."""
    made = RunConfig(
        algorithms=("bc", "om2p"), datasets=("mpe/tag/medium",), seeds=(3,), preset="cpu",
        overrides={"om2p.hidden": [64, 64], "run.updates": 5, "bc.activation": "gelu"},
        tuned=True, out=Path("a b"), resume="failed", tensorboard=True, wandb=True, mlflow=True,
        jobs=2, device="cpu", threads=3, replicas="1", jobs_per_gpu=2, timeout=9.5,
        memory_limit=2.0, data_seed=4, size=500, fraction=0.5, data_dir=Path("/data"),
        rules="mpe2", prey="/a prey",
        launcher="ray", start_seed=5, address="h:1", plugins=(Path("/p one.py"), Path("/two.py")),
    )  # fmt: skip
    plain = RunConfig()
    known = flags.flags_of(RunConfig)
    for name in known:
        assert getattr(made, name) != getattr(plain, name), f"{name} is tried with its default"
    typed = {name: flag.typed(getattr(made, name)) for name, flag in known.items()}
    assert config.from_typed(typed) == made
    assert config.from_typed({n: f.typed(f.default) for n, f in known.items()}) == plain
    assert config.from_dict(json.loads(json.dumps(config.as_dict(made)))) == made


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2), (3,), (3, 7), (1, 0)])
def test_seeds_are_written_as_they_are_read(seeds: tuple[int, ...]) -> None:
    assert flags.parse_seeds(flags.write_seeds(seeds)) == seeds


def test_flags_say_what_they_are_for() -> None:
    for flag in flags.flags_of(RunConfig).values():
        assert flag.group in config.GROUPS
        assert flag.help[0].isupper()
        assert not flag.help.endswith(".")
        assert flag.default is not None or flag.shown_default, flag.name
        assert flag.kind is bool or flag.metavar, flag.name


def test_a_configuration_checks_itself() -> None:
    with pytest.raises(BenchError, match="device='tpu'"):
        RunConfig(device="tpu")  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="did you mean seeds"):
        config.make_config(seed=3)
    made = RunConfig(out="text")  # type: ignore[arg-type]
    assert made.out == Path("text")
    assert made.replace(jobs=3) == RunConfig(out=Path("text"), jobs=3)
