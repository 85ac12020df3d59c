"""`hub:` addresses, against a server here that speaks the few endpoints that are used."""

import hashlib
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import datasets
from bench.cli import app
from datasets.errors import DatasetError
from datasets.formats import exporting, importing
from datasets.recorded.store import Dataset
from datasets.sources import hub
from tests.datasets.standin_hub import SHA, Hub, serving
from tests.datasets.test_vault import from_dataset
from tests.datasets.vaults import write_vault


@pytest.fixture(scope="module")
def repository(expert: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published files as repositories hold them: a folder per seed, and a vault in a zip file."""
    root = tmp_path_factory.mktemp("repository")
    part = Dataset(expert.folder, fraction=0.03)
    exporting.export(part, root / "mpe" / "seed_0_data")
    vaults = tmp_path_factory.mktemp("vaults")
    write_vault(vaults / "simple_spread.vlt" / "Expert", from_dataset(expert, extra=1))
    shutil.make_archive(str(root / "omar" / "simple_spread"), "zip", vaults)
    (root / "README.md").write_text("published")
    return root


@pytest.fixture
def server(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving({"team/data": repository}, tmp_path / "hub", monkeypatch) as served:
        yield served


def bring_in(address: str, root: Path, layout: str = "omar", name: str = "x") -> Dataset:
    importing.import_dataset(layout, address, "mpe/spread", name, root)
    return datasets.load(f"import/{name}", data_dir=root)


def test_a_folder_of_a_repository_is_imported(
    server: Hub, repository: Path, expert: Dataset, tmp_path: Path
) -> None:
    """Only its files are downloaded; the card has their hashes and the commit they came from."""
    dataset = bring_in("hub:team/data/mpe/seed_0_data", tmp_path)
    part = Dataset(expert.folder, fraction=0.03)
    assert dataset.card["returns"] == part.card["returns"]
    recipe = dataset.card["recipe"]
    assert recipe["hub"] == {
        "repository": "team/data", "revision": SHA, "path": "mpe/seed_0_data"
    }  # fmt: skip
    content = (repository / "mpe/seed_0_data/obs_0.npy").read_bytes()
    assert recipe["source_files"]["obs_0.npy"] == hashlib.sha256(content).hexdigest()
    fetched = {path.split(SHA)[1] for kind, path in server.asked if kind == "GET" and SHA in path}
    assert "/mpe/seed_0_data/obs_2.npy" in fetched
    assert all(path.startswith("/mpe/seed_0_data/") for path in fetched)


def test_a_download_shows_its_progress(server: Hub, tmp_path: Path) -> None:
    shown: list[tuple[int, int, str]] = []
    hub.download("hub:team/data/mpe/seed_0_data", lambda *one: shown.append(one))
    names = [what for _, _, what in shown]
    assert names[0] == "downloading mpe/seed_0_data/acs_0.npy, MB"
    assert len(names) == 16
    assert all(done <= total for done, total, _ in shown)


def test_a_second_import_downloads_nothing(server: Hub, tmp_path: Path) -> None:
    first = bring_in(f"hub:team/data@{SHA}/mpe/seed_0_data", tmp_path)
    server.asked.clear()
    second = bring_in("hub:team/data@main/mpe/seed_0_data", tmp_path, name="again")
    assert second.card["checksum"] == first.card["checksum"]
    assert not [path for kind, path in server.asked if kind == "GET" and "resolve" in path]


def test_an_archive_of_a_repository_is_unpacked(
    server: Hub, expert: Dataset, tmp_path: Path
) -> None:
    address = "hub:team/data/omar/simple_spread.zip/simple_spread.vlt/Expert"
    dataset = bring_in(address, tmp_path, "vault")
    assert dataset.card["checksum"] == expert.card["checksum"]
    assert set(dataset.card["recipe"]) == {"format", "source_files", "hub", "archive"}
    whole = bring_in("hub:team/data/omar/simple_spread.zip", tmp_path, "vault", "whole")
    assert whole.card["checksum"] == expert.card["checksum"]


def test_a_dropped_connection_is_taken_up_where_it_broke(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # what is kept at a time
    server.cut = {"mpe/seed_0_data/obs_1.npy"}
    whole = bring_in("hub:team/data/mpe/seed_0_data", tmp_path)
    assert whole.card["n_episodes"] == 6
    assert not server.cut
    ((name, start),) = server.ranges
    assert name == "mpe/seed_0_data/obs_1.npy"
    assert start == server.halves[0] // 1024 * 1024 > 0


def test_an_interrupted_import_goes_on_with_the_files_that_are_missing(
    server: Hub, tmp_path: Path
) -> None:
    server.missing = {"mpe/seed_0_data/rews_2.npy"}  # the last of them, as names are sorted
    with pytest.raises(DatasetError, match="cannot be downloaded"):
        bring_in("hub:team/data/mpe/seed_0_data", tmp_path)
    assert not (tmp_path / "import" / "x").exists()
    server.missing, server.asked = set(), []
    bring_in("hub:team/data/mpe/seed_0_data", tmp_path)
    fetched = [path.split(SHA)[1] for kind, path in server.asked if kind == "GET" and SHA in path]
    assert fetched == ["/mpe/seed_0_data/rews_2.npy"]


def test_a_file_that_differs_from_its_hash_is_removed_and_said(server: Hub, tmp_path: Path) -> None:
    """A large file by its SHA-256, a small one by git's SHA-1; the next import fetches it anew."""
    for name in ("mpe/seed_0_data/acs_0.npy", "mpe/seed_0_data/dataset.json"):
        server.tampered = {name}
        with pytest.raises(DatasetError, match=f"{name} of .* is not what the Hub announces"):
            bring_in("hub:team/data/mpe/seed_0_data", tmp_path)
        server.tampered = set()
    assert bring_in("hub:team/data/mpe/seed_0_data", tmp_path).card["n_episodes"] == 6


def test_what_is_too_large_is_said_before_it_is_downloaded(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MOST", 1000)
    with pytest.raises(DatasetError, match=r"GB together, more than .* of one import"):
        bring_in("hub:team/data/mpe/seed_0_data", tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(hub, "SPARE", 1 << 60)
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    with pytest.raises(DatasetError, match="left; make room, or name another folder with HF_HOME"):
        bring_in("hub:team/data/mpe/seed_0_data", tmp_path)
    assert not [path for _, path in server.asked if "resolve" in path]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hub:team/data@old/mpe", "names a revision that the repository does not have"),
        ("hub:team/nothing", "names no data repository that can be seen"),
        ("hub:team/closed", "open only to those whom its owner has admitted"),
        ("hub:team/data/elsewhere", r"holds README\.md, mpe/seed_0_data, omar; name one"),
        ("hub:team", "is not an address of the form"),
        ("hub:team/data/../../etc", "is not an address of the form"),
        ("hub:", "is not an address of the form"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    address: str, message: str, server: Hub, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        bring_in(address, tmp_path)
    assert "\n" not in str(caught.value)


def test_without_a_network_there_is_one_sentence(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        arguments = ["hub:team/data", "--format", "omar", "--task", "mpe/spread", "--name", "x"]
        code = app.main(["data", "import", *arguments, "--data-dir", str(tmp_path)])
    errors = capsys.readouterr().err
    assert code == 2
    assert errors.count("\n") == 1
    assert "hub:team/data cannot be downloaded" in errors
    assert "import them from a folder" in errors


def test_without_the_library_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DatasetError, match=r"pip install 'om2p-bench\[hub\]'"):
        hub.download("hub:team/data")


def test_a_repository_cannot_name_files_outside_itself() -> None:
    for bad in ("../x.npy", "a/../../x.npy", "/etc/x.npy"):
        with pytest.raises(DatasetError, match="names no files of the repository"):
            hub._wanted([bad, "obs_0.npy"], "", "hub:team/data")
