"""The toy behind the figure of one step against many: its numbers, its file, its bad inputs."""

import json
from pathlib import Path

import pytest
import torch

from bench.cli import app
from bench.diagnose import toy
from reports.drawing import canvas
from reports.figures import toys as figure
from reports.reading import toys


def test_the_data_are_four_gaussians_and_as_far_from_themselves_as_chance() -> None:
    rows = toy.ring(40_000, torch.Generator().manual_seed(0))
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        mode = rows[sign * rows[:, axis] > 0.4]
        assert len(mode) / len(rows) == pytest.approx(0.25, abs=0.01)
        assert sign * mode[:, axis].mean() == pytest.approx(toy.RADIUS, abs=0.01)
        assert mode[:, 1 - axis].std() == pytest.approx(toy.SPREAD, abs=0.01)
    one, two = (toy.ring(4000, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert abs(toy.energy_distance(one, two)) < 0.001


def test_the_energy_distance_of_two_points_is_known() -> None:
    """Half of X at 0 and half at 1, Y all at 0: 2 * 1/2 - 1/2 - 0 in the limit."""
    first = torch.cat([torch.zeros(500, 2), torch.tensor([[1.0, 0.0]]).expand(500, 2)])
    assert toy.energy_distance(first, torch.zeros(1000, 2)) == pytest.approx(0.5, abs=0.001)


def test_ten_steps_beat_one_and_the_report_draws_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(toy, "SAMPLES", 4000)
    monkeypatch.setitem(toy.TRUNK, "hidden", (64, 64))
    assert app.main(["toy", "--out", str(tmp_path), "--updates", "300"]) == 0
    assert "flow-bc, 10 steps: energy distance" in capsys.readouterr().out
    content = json.loads((tmp_path / "toy.json").read_text())
    rows = {(row["algorithm"], row["steps"]): row for row in content["rows"]}
    assert set(rows) == {
        ("data", 0), ("om2p", 1), ("flow-bc", 1), ("flow-bc", 2), ("flow-bc", 10),
        ("diffusion-bc", 5),
    }  # fmt: skip
    apart = {key: row["energy_distance"] for key, row in rows.items()}
    assert apart["data", 0] < apart["flow-bc", 10] < apart["flow-bc", 2] < apart["flow-bc", 1]
    assert apart["om2p", 1] < 0.2 * apart["flow-bc", 1]
    assert all(sum(map(sum, row["counts"])) == 4000 for row in content["rows"])
    warnings: list[str] = []
    read = toys.read(tmp_path, warnings)
    with canvas.look():
        (drawn,) = figure.draw(read, tmp_path)
    assert warnings == []
    assert "4,000 samples each" in drawn.caption
    assert "300 updates" in drawn.caption


def test_equal_seeds_give_equal_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "SAMPLES", 500)
    monkeypatch.setitem(toy.TRUNK, "hidden", (16,))
    first, second, other = (toy.measure(5, seed)["rows"] for seed in (0, 0, 1))
    assert first == second
    assert first != other


def test_a_place_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(toy, "measure", lambda *_: {})
    (tmp_path / "file").write_text("")
    assert app.main(["toy", "--out", str(tmp_path / "file")]) == 2
    message = capsys.readouterr().err
    assert "toy.json cannot be written" in message
    assert message.count("\n") == 1
