"""Published recordings by name, imported from a stand-in of the Hub that has their layouts."""

import dataclasses
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import datasets
from bench.cli import app
from datasets.errors import DatasetError
from datasets.formats import exporting, importing
from datasets.formats.actions import ORDERS
from datasets.recorded.store import Dataset
from datasets.sources import public
from datasets.tasks import TASKS
from tests.datasets.standin_hub import Hub, serving
from tests.datasets.test_vault import from_dataset
from tests.datasets.vaults import write_vault

QUALITIES = ("expert", "medium", "random", "medium-expert", "random-medium")


@pytest.fixture(scope="module")
def repositories(expert: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Our own recording in the places and layouts of the two publishers."""
    om2p = tmp_path_factory.mktemp("om2p")
    part = Dataset(expert.folder, fraction=0.05)
    for quality in QUALITIES:
        for seed in range(2 if quality == "expert" else 1):
            folder = om2p / "simple_spread" / quality / f"seed_{seed}_data"
            exporting.export(part, folder)
            (folder / exporting.SIDECAR).unlink()  # theirs have none
    vaults = tmp_path_factory.mktemp("vaults")
    for uid in ("Expert", "Medium"):
        write_vault(vaults / "simple_spread.vlt" / uid, from_dataset(expert, extra=1))
    og_marl = tmp_path_factory.mktemp("og-marl")
    shutil.make_archive(str(og_marl / "prior_work/omar/mpe/simple_spread"), "zip", vaults)
    return {"zhuoran-li/offline_marl_dataset": om2p, "InstaDeepAI/og-marl": og_marl}


@pytest.fixture
def server(
    repositories: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    with serving(repositories, tmp_path / "hub", monkeypatch) as served:
        yield served


def test_the_release_of_om2p_is_imported_by_name(
    server: Hub, expert: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One word: the table knows layout, task and quality; seeds become recordings."""
    asked = ["data", "import", "public:om2p/spread/expert", "--data-dir", str(tmp_path)]
    assert app.main(asked) == 0
    said = capsys.readouterr().out
    assert "dataset import/om2p-spread-expert" in said
    assert "recording    seed-1" in said
    assert "motion 100.0%" in said
    back = datasets.load("import/om2p-spread-expert", data_seed=1, data_dir=tmp_path)
    part = Dataset(expert.folder, fraction=0.05)
    np.testing.assert_array_equal(back.action, part.action[part.transitions])
    card = back.card
    assert card["published_quality"] == "expert"
    assert card["recipe"]["public"] == "om2p/spread/expert"
    assert card["recipe"]["hub"]["repository"] == "zhuoran-li/offline_marl_dataset"
    assert card["licence"].startswith("not stated in their code")
    assert any("default team has 4 agents" in note for note in card["notes"])
    assert card["replay"]["share"] == 1.0


def test_every_quality_of_the_release_and_a_name_of_ones_own(server: Hub, tmp_path: Path) -> None:
    for quality in QUALITIES[1:]:
        address = f"public:om2p/spread/{quality}"
        importing.import_dataset(None, address, None, f"my-{quality}", tmp_path)
        card = datasets.load(f"import/my-{quality}", data_dir=tmp_path).card
        assert card["published_quality"] == quality
    with pytest.raises(DatasetError, match="import/my-random is there already"):
        importing.import_dataset(None, "public:om2p/spread/random", None, "my-random", tmp_path)


def test_a_vault_of_og_marl_is_imported_by_name(
    server: Hub, expert: Dataset, tmp_path: Path
) -> None:
    importing.import_dataset(None, "public:og-marl-omar/spread/expert", None, None, tmp_path)
    back = datasets.load("import/og-marl-omar-spread-expert", data_dir=tmp_path)
    assert back.card["checksum"] == expert.card["checksum"]
    assert back.card["recipe"]["archive"]["name"] == "simple_spread.zip"


def test_files_of_another_team_or_world_are_refused(
    server: Hub, repositories: dict[str, Path], tmp_path: Path
) -> None:
    """What nobody could look at proves itself: four agents, or actions that moved nobody."""
    folder = tmp_path / "other"
    source = repositories["zhuoran-li/offline_marl_dataset"] / "simple_spread/expert/seed_0_data"
    four, still = (folder / "simple_spread" / name / "seed_0_data" for name in ("expert", "medium"))
    shutil.copytree(source, four)
    for kind in ("obs", "acs", "rews", "next_obs", "dones"):
        shutil.copy(four / f"{kind}_0.npy", four / f"{kind}_3.npy")
    shutil.copytree(source, still)
    for agent in range(3):
        np.save(still / f"acs_{agent}.npy", np.zeros((250, 2), np.float32))
    server.repositories = {"zhuoran-li/offline_marl_dataset": folder}
    for quality, message in (
        ("expert", "of 4 agents"), ("medium", "does not look like data of mpe/spread")
    ):  # fmt: skip
        with pytest.raises(DatasetError, match=message):
            importing.import_dataset(None, f"public:om2p/spread/{quality}", None, None, tmp_path)
        assert not any((tmp_path / "import").glob("*"))


def test_what_is_not_there_is_one_sentence(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown name, a folder that the repository lacks, no network."""
    cases = [
        ("public:om2p/spred/expert", "did you mean om2p/spread/expert"),
        ("public:nothing", "`list datasets --public` lists them"),
        ("public:om2p/tag/expert", "names no files of the repository, which holds simple_spread"),
    ]
    for address, message in cases:
        assert app.main(["data", "import", address, "--data-dir", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        asked = ["data", "import", "public:om2p/spread/expert", "--data-dir", str(tmp_path)]
        assert app.main(asked) == 2
    said = capsys.readouterr().err
    assert "cannot be downloaded" in said
    assert "check the network, or download the files elsewhere" in said
    assert said.count("\n") == 1


def test_only_a_public_name_says_format_task_and_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["data", "import", str(tmp_path), "--format", "omar"]) == 2
    assert "needs --task and --name too; only public:NAME" in capsys.readouterr().err


def test_every_row_of_the_table_can_be_imported(capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks, formats and orders exist, names are names of datasets, and the list shows all."""
    assert app.main(["list", "datasets", "--public"]) == 0
    said = capsys.readouterr().out
    assert "Nobody here could download" in said
    for one in public.table().values():
        assert one.task in TASKS
        assert one.format in importing.FORMATS
        assert one.action_order in (None, *ORDERS)
        importing.imported.check_name(one.import_name)
        importing._checked_quality(one.quality)
        assert all(dataclasses.astuple(one)[:-1])
        assert f"public:{one.name.rpartition('/')[0]}/QUALITY" in said
    assert app.main(["list", "tasks", "--public"]) == 2
    assert "--public lists datasets" in capsys.readouterr().err
