"""The histogram of returns as a figure file."""

from pathlib import Path

import pytest

import datasets
from bench.cli import app
from bench.cli.data import draw
from bench.errors import BenchError

HEADS = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.mark.parametrize("suffix", HEADS)
def test_a_figure_is_written_in_the_kind_of_its_suffix(
    suffix: str, data_dir: Path, tmp_path: Path
) -> None:
    card = datasets.load("mpe/spread/random", size=5000, data_dir=data_dir).card
    path = draw(card, tmp_path / "new folder" / f"returns{suffix}")
    content = path.read_bytes()
    assert content.startswith(HEADS[suffix])
    if suffix == ".svg":
        assert content.count(b"<path") > 40  # the bars, not an empty frame


def test_other_suffixes_and_places_are_one_sentence(data_dir: Path, tmp_path: Path) -> None:
    card = datasets.load("mpe/spread/random", size=5000, data_dir=data_dir).card
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "returns.doc", tmp_path / "file" / "returns.png"):
        with pytest.raises(BenchError, match=r"cannot be written .* name a file such as") as caught:
            draw(card, path)
        assert "\n" not in str(caught.value)


def test_the_command_draws_what_it_describes(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets.load("mpe/spread/random", size=5000, data_dir=data_dir)
    figure = tmp_path / "returns.png"
    code = app.main(
        ["data", "info", "mpe/spread/random", "--size", "5000", "--data-dir", str(data_dir),
         "--figure", str(figure)]
    )  # fmt: skip
    assert code == 0
    assert f"figure: {figure}" in capsys.readouterr().out
    assert figure.stat().st_size > 5000
