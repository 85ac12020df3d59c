"""Imported sets are datasets like any other: their identity, commands, and cells on them."""

import shutil
from pathlib import Path

import pytest

import datasets
from bench.cli import app
from bench.errors import BenchError
from bench.plan import config, grid
from bench.study.reproduce import cell_of
from bench.training import runner
from datasets import recipes
from datasets.errors import DatasetError
from datasets.recorded.store import Dataset
from tests.datasets.published import change, import_spread


def test_identity_is_the_content(files: Path, tmp_path: Path) -> None:
    first = import_spread(files, tmp_path)
    identity = datasets.recipe("import/published", data_dir=tmp_path)
    assert identity["imported"] == first.card["checksum"]
    assert identity == datasets.recipe("import/published", data_seed=3, data_dir=tmp_path)
    assert identity["task"] == "mpe/spread"
    change(files, "rews_0", lambda array: array + 1.0)
    shutil.rmtree(first.folder)
    import_spread(files, tmp_path, accept=True)
    other = datasets.recipe("import/published", data_dir=tmp_path)
    assert recipes.digest(other) != recipes.digest(identity)


def test_requests_that_make_no_sense_are_one_sentence(files: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds none; add one with"):
        datasets.recipe("import/published", data_dir=tmp_path)
    import_spread(files, tmp_path)
    for options, message in (
        ({"dataset_id": "import/publishd"}, "did you mean import/published"),
        ({"size": 100}, "keep a part with --fraction"),
        ({"rules": "mpe2"}, "imported for omar rules"),
        ({"fraction": 2.0}, r"outside \(0, 1\]"),
    ):
        with pytest.raises(DatasetError, match=message):
            datasets.recipe(**({"dataset_id": "import/published", "data_dir": tmp_path} | options))
    (tmp_path / "import/published/card.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"damaged.*import its files again"):
        datasets.recipe("import/published", data_dir=tmp_path)


def test_the_command_line_imports_describes_checks_and_exports(
    files: Path, expert: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("OM2P_BENCH_DATA", str(tmp_path / "data"))

    def call(*arguments: object) -> tuple[int, str, str]:
        code = app.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    flags = ("--format", "omar", "--task", "mpe/spread", "--name")
    assert call("data", "import", files, *flags, "mine")[0] == 0
    code, text, _ = call("data", "info", "import/mine")
    assert code == 0
    for expected in ("task mpe/spread", "imported", "5,000 transitions", "dones is 0 throughout"):
        assert expected in text
    assert call("data", "verify")[:2] == (
        0,
        f"{tmp_path}/data/import/mine: whole\n1 dataset, 0 broken\n",
    )
    assert "import/mine" in call("list", "datasets")[1]
    assert call("data", "export", "import/mine", tmp_path / "out")[0] == 0
    assert (tmp_path / "out/obs_0.npy").read_bytes() == (files / "obs_0.npy").read_bytes()
    for arguments, message in (
        ((files, *flags, "../mine"), "cannot name an imported dataset"),
        ((tmp_path / "no", *flags, "x"), "holds no obs_0.npy"),
    ):
        code, _, errors = call("data", "import", *arguments)
        assert code == 2
        assert errors.startswith("error: ")
        assert message in errors
        assert errors.count("\n") == 1


def test_a_cell_trains_on_an_imported_set(files: Path, tmp_path: Path) -> None:
    dataset = import_spread(files, tmp_path)
    small = {
        "run.updates": 4, "run.batch_size": 8, "run.evaluate_every": 4, "run.final_episodes": 4,
        "run.evaluation_episodes": 4, "run.checkpoint_every": 4, "algorithm.hidden": [8],
    }  # fmt: skip
    configuration = config.make_config(
        algorithms=("bc",), datasets=("import/published",), seeds=(0,), preset="smoke",
        data_dir=tmp_path, device="cpu", overrides=small,
    )  # fmt: skip
    (cell,) = grid.cells(configuration)
    record = runner.run_cell(cell, tmp_path / "cell", runner.ExecutionOptions("cpu"))
    assert record["status"] == "done", record["error"]
    assert record["dataset"]["id"] == record["dataset"]["quality"] == "import/published"
    assert record["dataset"]["task"] == "mpe/spread"
    assert record["dataset"]["checksum"] == dataset.card["checksum"]
    assert cell_of(record, tmp_path).id == cell.id  # what `reproduce` would run again


@pytest.fixture
def seeds(files: Path) -> Path:
    """A folder with the recordings of data seeds 0 and 3, the second with other rewards."""
    folder = files.parent / "expert"
    for seed in (0, 3):
        shutil.copytree(files, folder / f"seed_{seed}_data")
    change(folder / "seed_3_data", "rews_0", lambda array: array + 1.0)
    (folder / "README.txt").write_text("no seed")
    return folder


def test_a_folder_with_one_sub_folder_per_seed_is_one_dataset(seeds: Path, tmp_path: Path) -> None:
    first = import_spread(seeds, tmp_path, accept=True)
    second = datasets.load("import/published", data_seed=3, data_dir=tmp_path)
    assert [one.card["data_seed"] for one in (first, second)] == [0, 3]
    assert second.card["returns"]["mean"] == pytest.approx(first.card["returns"]["mean"] + 25 / 3)
    identities = [datasets.recipe("import/published", n, data_dir=tmp_path) for n in (0, 3)]
    assert [one["data_seed"] for one in identities] == [0, 3]
    assert [one["imported"] for one in identities] == [
        first.card["checksum"], second.card["checksum"]
    ]  # fmt: skip
    assert datasets.dataset_ids(tmp_path)[-1] == "import/published"
    with pytest.raises(DatasetError, match="no recording of data seed 1, only of 0, 3"):
        datasets.recipe("import/published", data_seed=1, data_dir=tmp_path)


def test_one_bad_seed_imports_nothing(seeds: Path, tmp_path: Path) -> None:
    (seeds / "seed_3_data" / "acs_1.npy").unlink()
    with pytest.raises(DatasetError, match=r"acs_1\.npy is missing"):
        import_spread(seeds, tmp_path)
    assert list((tmp_path / "import").iterdir()) == []
    (seeds / "seed_0").mkdir()
    with pytest.raises(DatasetError, match="two folders of one seed"):
        import_spread(seeds, tmp_path)


def test_paired_seeds_learn_from_their_own_recordings(
    seeds: Path, files: Path, tmp_path: Path
) -> None:
    import_spread(seeds, tmp_path, accept=True)
    import_spread(files, tmp_path, "single")

    def cells(name: str, *chosen: int) -> list[grid.Cell]:
        return grid.cells(
            config.make_config(
                algorithms=("bc",), datasets=(f"import/{name}",), seeds=chosen,
                data_seed="paired", data_dir=tmp_path,
            )
        )  # fmt: skip

    assert [cell.recipe["data_seed"] for cell in cells("published", 0, 3)] == [0, 3]
    with pytest.raises(DatasetError, match="no recording of data seed 2"):
        cells("published", 0, 2)
    with pytest.raises(BenchError, match="import/single is a single recording"):
        cells("single", 0)
