"""Results folders of strangers: links, pipes, devices, huge files and control characters in them.

Each test puts the real thing into a folder and runs the commands that a user would run. A command
that waits for a pipe would wait for ever: all run in other processes, with a time limit.
"""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.plan import grid
from bench.plan.config import make_config
from bench.results import locks, plain_files, soundness, store
from bench.results.collect import collect
from bench.results.printable import one_line, printable
from bench.results.record import CHECKPOINT, EPISODES, LOG, Record
from bench.study.resume import plan_study
from tests.bench import documents, forked
from tests.bench.test_collect import finished

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "schema-1"
SECONDS = 600  # for a command: far more than it takes, far less than for ever
MEMORY = 6 * 2**30  # bytes of address space, which torch alone needs much of

Make = Callable[..., Any]


def bench(
    *arguments: Any, memory: int | None = None, after: list[list[Any]] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does; fails where it takes too long.

    memory: the most bytes of address space, in an interpreter of its own; without a limit it is a
    fork of this one. after: more commands for the same process, which then prints all exit codes.
    """
    words = ["-m", "bench", *map(str, arguments)]
    if memory is not None:
        commands = [[*map(str, one)] for one in (arguments, *(after or []))]
        code = (
            f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))\n"
            "import sys; from bench.cli import main\n"
            f"codes = [main(words) for words in {commands!r}]\n"
            "print(codes)\n"
            "sys.exit(max(codes))"
        )
        words = ["-c", code]
    elif forked.AVAILABLE:
        return forked.Program(words, dict(os.environ), ROOT).end(SECONDS)
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip


def study(tmp_path: Path, make_cell: Make, seeds: int = 2) -> tuple[Path, list[str]]:
    """Write a results folder of finished cells as they really are; return it and their ids."""
    root = tmp_path / "results"
    cells = [make_cell(seed=seed) for seed in range(seeds)]
    for cell in cells:
        folder = finished(cell, root)
        store.write_progress(folder, [{"update": 25, "return_mean": 1.0, "score": 1.0}])
        store.write_episodes(folder, np.ones((4, 3)))
    return root, [cell.id for cell in cells]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return a file of the reader's machine that no page may hold."""
    path = tmp_path / "secret.txt"
    path.write_text("GIF89a the reader's private key")
    return path


class TestWhatLiesInACell:
    def test_a_report_publishes_no_file_behind_a_link(
        self, make_cell: Make, tmp_path: Path, secret: Path
    ) -> None:
        root, (good, bad) = study(tmp_path, make_cell)
        failed = finished(make_cell(seed=5), root, status="failed", error="it fell")
        for folder, name in ((root / bad, "team.gif"), (root / bad, "a.gif"), (failed, LOG)):
            (folder / name).symlink_to(secret)
        (root / "toy.json").symlink_to(secret)
        (root / "efficiency.json").symlink_to(secret)
        done = bench("report", "--out", root, "--to", tmp_path / "page")
        assert done.returncode == 0, done.stderr
        page = (tmp_path / "page" / "index.html").read_text()
        assert "private key" not in page
        assert "R0lGODlhIHRoZSByZWFkZXI" not in page  # the secret in base64
        assert f"cell {bad}" in done.stderr
        assert "symbolic link" in done.stderr
        assert f"cell {good}" not in done.stderr

    def test_nothing_waits_for_a_pipe(self, make_cell: Make, tmp_path: Path) -> None:
        names = ["team.gif", "progress.jsonl", EPISODES, "run.json", LOG]
        root, (good, *bad) = study(tmp_path, make_cell, seeds=1 + len(names))
        for cell, name in zip(bad, names, strict=True):
            (root / cell / name).unlink(missing_ok=True)
            os.mkfifo(root / cell / name)
        said = ""
        for command in (["status"], ["report", "--to", tmp_path / "page"]):
            done = bench(*command, "--out", root)
            assert done.returncode == 0, done.stderr
            assert "not a plain file" in done.stdout + done.stderr
            said += done.stdout + done.stderr
        for cell, name in zip(bad, names, strict=True):
            assert f"{cell}/{name} is not a plain file" in said, name
        with pytest.warns(UserWarning, match="not a plain file"):
            counts = collect([root], tmp_path / "merged")
        assert [path.name for path in store.cell_folders(tmp_path / "merged")] == [good]
        assert counts["copied"] == 1

    def test_a_checkpoint_that_is_no_file_is_refused(self, tmp_path: Path) -> None:
        """By every command that opens it, one after the other in one process."""
        (recorded,) = GOLDEN.iterdir()
        commands: list[list[Any]] = []
        for what in ("pipe", "device"):
            folder = tmp_path / what / recorded.name
            shutil.copytree(recorded, folder)
            (folder / CHECKPOINT).unlink(missing_ok=True)
            if what == "pipe":
                os.mkfifo(folder / CHECKPOINT)
            else:
                (folder / CHECKPOINT).symlink_to("/dev/zero")
            commands.append(["evaluate", "--run", folder])
            commands.append(["export", folder, "--to", tmp_path / "x"])
        done = bench(*commands[0], memory=MEMORY, after=commands[1:])
        assert done.stdout.splitlines()[-1] == "[2, 2, 2, 2]", done.stderr
        said = done.stderr.splitlines()
        assert len(said) == 4
        assert all(CHECKPOINT in line for line in said)

    def test_a_cell_is_not_opened_through_a_link_by_its_id(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        from bench.policies.checkpointed import find_cell

        elsewhere, (cell, _) = study(tmp_path, make_cell)
        (tmp_path / "strange").mkdir()
        (tmp_path / "strange" / cell).symlink_to(elsewhere / cell)
        with pytest.raises(BenchError, match="there is no cell"):
            find_cell(cell, tmp_path / "strange")
        assert find_cell(elsewhere / cell, tmp_path / "strange") == elsewhere / cell

    def test_no_more_is_read_than_a_cell_can_have(self, make_cell: Make, tmp_path: Path) -> None:
        names = ["team.gif", "progress.jsonl", "run.json"]
        root, (good, *bad) = study(tmp_path, make_cell, seeds=1 + len(names))
        for cell, name in zip(bad, names, strict=True):
            with open(root / cell / name, "wb") as file:
                file.truncate(8 * 2**30)
        done = bench("report", "--out", root, "--to", tmp_path / "page", memory=MEMORY)
        assert done.returncode == 0, done.stderr
        for cell, name in zip(bad, names, strict=True):
            (line,) = (line for line in done.stderr.splitlines() if f"{cell}/{name}" in line)
            assert "more than a cell can have" in line
        assert f"{good}" in (tmp_path / "page" / "index.html").read_text()

    def test_packed_episodes_and_checkpoints_are_refused(self, tmp_path: Path) -> None:
        import zipfile

        import pyarrow
        import pyarrow.parquet

        from bench.training import checkpoint

        texts = pyarrow.array(["x" * 1000] * 1000)
        table = pyarrow.table({"episode": range(1000), "agent": range(1000), "return": texts})
        pyarrow.parquet.write_table(table, tmp_path / EPISODES)
        with pytest.raises(BenchError, match="its columns are not numbers"):
            store.read_episodes(tmp_path)
        with zipfile.ZipFile(tmp_path / CHECKPOINT, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", b"\0" * 2**20)
        with pytest.raises(BenchError, match="is damaged"):
            checkpoint.read(tmp_path / CHECKPOINT, "0123456789ab")

    def test_what_a_file_is_shows_in_its_first_bytes(self, make_cell: Make, tmp_path: Path) -> None:
        (tmp_path / "team.gif").write_bytes(b"\x89PNG\r\n")
        with pytest.raises(plain_files.RefusedFile, match="does not begin"):
            plain_files.content(tmp_path, "team.gif")
        root, (good, bad) = study(tmp_path, make_cell)
        (root / bad / "team.gif").write_bytes(b"\x89PNG\r\n")
        with pytest.warns(UserWarning, match="does not begin"):
            assert collect([root], tmp_path / "merged")["damaged"] == 1
        assert [path.name for path in store.cell_folders(tmp_path / "merged")] == [good]
        (tmp_path / LOG).write_bytes(b"text\0binary")
        with pytest.raises(plain_files.RefusedFile, match="does not begin"):
            plain_files.end_of_text(tmp_path, LOG, 100)


class TestWriting:
    """A folder of a stranger must not redirect what we write."""

    @pytest.mark.parametrize("name", [LOG, "progress.jsonl", "run.json", CHECKPOINT])
    def test_a_run_does_not_write_through_a_link(
        self, make_cell: Make, tmp_path: Path, secret: Path, name: str
    ) -> None:
        from bench.training.runner import ExecutionOptions, run_cell

        before = secret.read_bytes()
        cell = make_cell()
        folder = tmp_path / cell.id
        folder.mkdir()
        (folder / name).symlink_to(secret)
        record = run_cell(cell, folder, ExecutionOptions())
        assert record.status == "failed"
        assert "symbolic link" in str(record.error)
        assert secret.read_bytes() == before

    def test_locks_and_animations_do_not_either(self, tmp_path: Path, secret: Path) -> None:
        from bench.rendering import animation

        before = secret.read_bytes()
        (tmp_path / locks.NAME).symlink_to(secret)
        with pytest.raises(BenchError, match="cannot be written"), locks.folder_lock(tmp_path):
            pass
        assert not locks.held(tmp_path)
        (tmp_path / "team.gif").symlink_to(secret)
        frame = np.zeros((20, 20, 3), dtype=np.uint8)
        animation.check(tmp_path / "team.gif")
        animation.write([(frame, "left", "right", 0.5)], tmp_path / "team.gif", 100)
        assert secret.read_bytes() == before
        assert not (tmp_path / "team.gif").is_symlink()

    def test_a_sparse_file_is_copied_with_its_holes(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with open(tmp_path / "a" / LOG, "wb") as file:
            file.write(b"begin" * 100)
            file.truncate(2**29)
            file.seek(2**29)
            file.write(b"end")
        plain_files.copy(tmp_path / "a", LOG, tmp_path / "copy")
        status = os.stat(tmp_path / "copy")
        assert status.st_size == 2**29 + 3
        assert status.st_blocks * 512 < 2**20
        with open(tmp_path / "copy", "rb") as file:
            assert file.read(5) == b"begin"
            file.seek(-3, os.SEEK_END)
            assert file.read() == b"end"


class TestOneCellsFault:
    HOSTILE = (
        '{"update": 25, "return_mean": 1e999, "score": NaN}\n'
        '{"update": 1' + "0" * 400 + ', "return_mean": 5, "score": -Infinity}\n'
        '{"update": 50, "return_mean": 1e300, "score": 7e250}\n'
        '{"update": "\\u001b[2J", "return_mean": [], "metrics": {"a": {"b": []}}}\n'
        "[[[[\n\x00\x01\n"
    )

    def test_bad_progress_does_not_fail_the_report(self, make_cell: Make, tmp_path: Path) -> None:
        root, (_, bad) = study(tmp_path, make_cell)
        (root / bad / "progress.jsonl").write_text(self.HOSTILE)
        done = bench("report", "--out", root, "--to", tmp_path / "page")
        assert done.returncode == 0, done.stderr

    def test_its_numbers_are_finite_or_unknown(self, tmp_path: Path) -> None:
        (tmp_path / "progress.jsonl").write_text(self.HOSTILE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = store.read_progress(tmp_path)
        assert [row["return_mean"] for row in rows] == [None, 5, None, []]
        assert rows[1]["update"] is None
        assert rows[3]["update"] == ""

    def test_cut_off_episodes_are_said_and_done_again(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        root, (good, bad) = study(tmp_path, make_cell)
        path = root / bad / EPISODES
        path.write_bytes(path.read_bytes()[:-20])
        assert "has been cut off" in str(soundness.fault(root / bad, store.read_run(root / bad)))
        status = bench("status", "--out", root)
        assert "1 damaged, 1 done" in status.stdout
        report = bench("report", "--out", root, "--to", tmp_path / "page")
        assert f"cell {bad}" in report.stderr
        assert "has been cut off" in report.stderr
        with pytest.warns(UserWarning, match="has been cut off"):
            assert collect([root], tmp_path / "merged")["damaged"] == 1
        assert [path.name for path in store.cell_folders(tmp_path / "merged")] == [good]

    def test_a_finished_cell_with_a_fault_has_to_run_again(self, tmp_path: Path) -> None:
        config = make_config(algorithms=("bc",), seeds=(0, 1), preset="smoke", out=tmp_path)
        first, second = grid.cells(config)
        for cell in (first, second):
            finished(cell, tmp_path)
        assert plan_study(config).todo == []
        content = json.loads((tmp_path / second.id / "run.json").read_text())
        content["algorithm"]["version"] += 8
        documents.write(tmp_path / second.id, content)
        planned = plan_study(config)
        assert [cell.id for cell in planned.todo] == [second.id]
        (sentence,) = planned.damaged
        assert "it names algorithm version" in sentence

    def test_a_report_averages_no_cell_of_another_version_than_it_was_hashed_for(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        root, (_, bad) = study(tmp_path, make_cell)
        content = json.loads((root / bad / "run.json").read_text())
        content["algorithm"]["version"] += 8
        documents.write(root / bad, content)
        from reports.reading import results

        read = results.read(root)
        (group,) = read.groups if len(read.groups) == 1 else [
            group for group in read.groups if group.trouble
        ]  # fmt: skip
        assert "1 damaged" in group.trouble
        assert any("it names algorithm version" in one for one in read.warnings)

    def test_cells_of_an_older_version_bear_its_number(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        from bench.plan.grid import new_record
        from bench.results.record import cell_id
        from reports.reading import results

        content = new_record(make_cell(), "done").as_json()
        content["algorithm"]["version"] = content["identity"]["algorithm_version"] = 99
        content["cell"] = cell_id(content["identity"])
        documents.write(tmp_path / content["cell"], content)
        read = results.read(tmp_path)
        assert [method.key for method in read.methods] == ["bc (version 99)"]
        assert any("its version 99" in one for one in read.warnings)

    @pytest.mark.parametrize("done", [10**18, -5])
    def test_a_count_that_cannot_be_is_damage(
        self, make_cell: Make, tmp_path: Path, done: int
    ) -> None:
        root, (_, bad) = study(tmp_path, make_cell)
        content = json.loads((root / bad / "run.json").read_text())
        documents.write(root / bad, {**content, "updates_done": done})
        shown = bench("status", "--out", root)
        assert "1 damaged, 1 done" in shown.stdout
        assert f"it counts {done} of" in shown.stdout


class TestControlCharacters:
    EVIL = "\x1b]0;owned\x07\x1b[2Jred\x1b[31m\x9b1m\u202egnp\u200b\r\nnext\tline\x00"

    def test_only_what_can_be_seen_is_left(self) -> None:
        assert printable(self.EVIL) == "redgnp\nnext\tline"
        assert one_line(self.EVIL) == "redgnp next line"
        for usual in ("± 3, größer", "日本語", "a\nb\tc", "✓ 100 %"):
            assert printable(usual) == usual

    def test_a_record_brings_none_to_the_terminal_or_the_page(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        root, (_, bad) = study(tmp_path, make_cell)
        content = json.loads((root / bad / "run.json").read_text())
        documents.write(root / bad, {**content, "status": "failed", "error": self.EVIL})
        (root / bad / LOG).write_text(f"Traceback: {self.EVIL}")
        (root / "\x1b[2Jfolder").mkdir()
        (root / "\x1b[2Jfolder" / "run.json").write_text("{")
        shown = [bench("status", "--out", root), bench("status", "--format", "json", "--out", root)]
        shown.append(bench("report", "--out", root, "--to", tmp_path / "page"))
        page = (tmp_path / "page" / "index.html").read_text()
        assert "redgnp" in page
        assert "redgnp" in shown[0].stdout
        for text in (page, *(one.stdout + one.stderr for one in shown)):
            assert not set(text) & set("\x1b\x07\x9b\u202e\u200b\x00")
            assert "\\u001b" not in text

    def test_identities_are_not_changed_by_it(self, tmp_path: Path) -> None:
        plain = documents.document()
        assert (
            Record.read(plain).as_json()
            == store.read_run(documents.write(tmp_path / "0123456789ab", plain)).as_json()
        )
