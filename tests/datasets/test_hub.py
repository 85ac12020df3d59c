"""`hub:` addresses, against a server here that speaks the few endpoints that are used."""

import hashlib
import json
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import datasets
from bench.cli import app
from datasets.errors import DatasetError
from datasets.formats import exporting, hub, importing
from datasets.recorded.store import Dataset
from tests.datasets.test_vault import from_dataset
from tests.datasets.vaults import write_vault

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """One repository, team/data: the files of a folder, at the revisions main and SHA."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[tuple[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    """Answers what huggingface-hub asks before and while it downloads a file."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path))
        if self.path.startswith("/api/datasets/team/data"):
            self.info(self.path.removeprefix("/api/datasets/team/data"))
        elif self.path.startswith(f"/datasets/team/data/resolve/{SHA}/"):
            self.file(self.path.split(f"{SHA}/")[1])
        elif "closed" in self.path:
            self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def info(self, revision: str) -> None:
        if revision not in ("", "/revision/main", f"/revision/{SHA}"):
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        files = sorted(p for p in self.server.folder.rglob("*") if p.is_file())
        names = [p.relative_to(self.server.folder).as_posix() for p in files]
        listing = {
            "id": "team/data", "sha": SHA, "siblings": [{"rfilename": name} for name in names],
            "private": False, "downloads": 0, "likes": 0, "tags": [], "author": "team",
        }  # fmt: skip
        self.answer(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})

    def file(self, name: str) -> None:
        content = (self.server.folder / name).read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": SHA})


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
    """The stand-in, with the library's cache in a folder of this test."""
    from huggingface_hub import constants

    served = Hub(repository)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{served.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield served
    served.shutdown()
    served.server_close()


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
