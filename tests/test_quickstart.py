"""The notebook of the documentation: every cell runs, in order, and shows what it should."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bench import forked

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not NOTEBOOK.is_file():
        pytest.skip("no docs beside the tests")
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OM2P_BENCH_DATA", str(tmp_path / "data"))
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    shown = []
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        *statements, last = "".join(cell["source"]).strip().splitlines()
        with forked.workers():
            exec("\n".join(statements), names)
            shown.append(eval(last, names))
    study, scores, curves, figures, actions, page = shown
    assert len(study) == 4
    assert len(scores) == 4
    assert scores["score"].notna().all()
    assert set(curves.index.get_level_values("algorithm")) == {"om2p", "bc"}
    assert "data:image/png" in figures._repr_html_()
    assert [action.shape for action in actions] == [(2,)] * 3
    assert page.is_file()


def test_the_committed_notebook_shows_its_outputs() -> None:
    if not NOTEBOOK.is_file():
        pytest.skip("no docs beside the tests")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in code)
    assert not any(one["output_type"] == "error" for cell in code for one in cell["outputs"])
