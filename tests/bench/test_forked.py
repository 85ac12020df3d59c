"""Forked programs begin as new ones do, whatever tests have done to the process that forks."""

import multiprocessing
import os
from pathlib import Path

import pytest

import algorithms
from tests.bench import forked

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="forks need Linux")


def test_a_program_does_not_see_what_a_test_has_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(algorithms.TABLE, "of-a-test", algorithms.TABLE["bc"])  # type: ignore[misc]
    asked = "print(*(name in algorithms.names() for name in ('bc', 'of-a-test')))"
    ended = forked.Program(["-c", f"import algorithms; {asked}"], dict(os.environ), tmp_path).end()
    assert ended.stdout.split() == ["True", "False"], ended.stderr


def test_a_program_has_semaphores_although_the_test_s_process_had_some(tmp_path: Path) -> None:
    lock = multiprocessing.get_context("spawn").Lock()  # starts a tracker here
    words = ["-c", "import multiprocessing; multiprocessing.get_context('spawn').Lock()"]
    ended = forked.Program(words, dict(os.environ), tmp_path).end()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert lock.acquire(block=False)
