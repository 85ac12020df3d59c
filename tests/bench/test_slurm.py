"""The array job of a plan, executed line by line as Slurm would: once per index."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.launchers import slurm
from bench.plan import grid
from bench.results import store

ROOT = Path(__file__).parents[2]


def test_every_index_runs_its_cell_and_together_they_are_the_study(
    small_flags: list[str],
    environment: dict[str, str],
    forked_command: Callable,
    python: Path,
    tmp_path: Path,
) -> None:
    flags = ["--algos", "bc,om2p", "--seeds", "3,5", "--jobs", "2", *small_flags]
    flags += ["--set", "om2p.q_weight=0.25", "--set", "om2p.q_normalise=none"]
    planned = forked_command("plan", *flags, "--format", "slurm")
    assert planned.returncode == 0, planned.stderr
    script = tmp_path / "study.sh"
    script.write_text(planned.stdout)
    assert subprocess.run(["bash", "-n", script], check=True).returncode == 0
    first, last = map(int, re.findall(r"^#SBATCH --array=(\d+)-(\d+)%2$", planned.stdout, re.M)[0])
    assert (first, last) == (0, 1)  # bc and om2p, the two seeds of each together
    for index in range(first, last + 1):
        variables = {"PYTHON": str(python), "SLURM_ARRAY_TASK_ID": str(index)}
        done = subprocess.run(
            ["bash", script], cwd=ROOT, env={**environment, **variables}, capture_output=True,
            text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    out = tmp_path / "results"
    parts = sorted(slurm.parts_folder(out).iterdir())
    assert len(parts) == 2
    merged = forked_command("collect", *map(str, parts), "--out", str(out))
    assert merged.returncode == 0, merged.stderr
    assert len(list(out.glob("environment-*.txt"))) == 1
    rest = json.loads(forked_command("plan", *flags, "--format", "json").stdout)
    assert [row["status"] for row in rest] == ["done"] * 4
    assert set(store.read_results(out)["replicas"]) == {2}
    again = forked_command("plan", *flags, "--format", "slurm")
    assert (again.returncode, again.stdout) == (2, "")
    assert "no cell is left to run" in again.stderr
    assert store.read_results(out)["config"].str.contains('"q_weight":0.25').sum() == 2


def test_limits_or_past_cells_decide_what_is_asked_for(
    make_config: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_config(timeout=3600.0, memory_limit=1.5, threads=2, fraction=0.5)
    text = slurm.script([grid.cells(made)], made, {})
    for line in ("--mem=1536M", "--time=70", "--cpus-per-task=2"):
        assert f"#SBATCH {line}\n" in text
    assert "--timeout 3600.0 --memory-limit 1.5" in text
    assert "--fraction 0.5" in text
    plain = make_config()
    needs = {cell.id: (600.0, 2**30) for cell in grid.cells(plain)}
    assert "--time" not in slurm.script([grid.cells(plain)], plain, {})
    text = slurm.script([grid.cells(plain)], plain, needs)
    assert "#SBATCH --mem=1536M\n#SBATCH --time=40\n" in text
    pair = make_config(seeds=(0, 1), timeout=600.0)
    needs = {cell.id: (600.0, 2**30) for cell in grid.cells(pair)}
    text = slurm.script([grid.cells(pair)], pair, needs)
    assert "#SBATCH --mem=3072M\n#SBATCH --time=30\n" in text  # a group of two
    assert '"bc mpe/spread/random 2 ' in text


def test_what_users_type_is_quoted(make_config: Callable, tmp_path: Path) -> None:
    made = make_config(out=tmp_path / "a b;c", data_dir=tmp_path / "$(x)")
    text = slurm.script([grid.cells(made)], made, {})
    assert f"--data-dir '{tmp_path}/$(x)'" in text
    assert f"--out '{tmp_path}/a b;c-parts'/\"$cell\"" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=True).returncode == 0


def test_published_values_and_plug_ins_reach_the_job(make_config: Callable, tmp_path: Path) -> None:
    plugin = tmp_path / "my task.py"
    plugin.write_text(
        "import datasets\ndatasets.tasks.TASKS['a/b'] = datasets.load_task('mpe/spread')\n"
    )
    made = make_config(tuned=True, plugins=(plugin,))
    text = slurm.script([grid.cells(make_config())], made, {})
    assert " --tuned " in text
    assert f" --plugin '{plugin}'" in text
