"""A stand-in of the Hugging Face Hub: what huggingface-hub asks before and while it downloads.

It serves folders as data repositories, with the sizes and hashes that the Hub lists, and can break
off, leave out or change single files.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

SHA = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".npy", ".zip")  # files that the Hub keeps as LFS objects, by their SHA-256


class Hub(ThreadingHTTPServer):
    """Repositories: the files of folders, each at the revisions main and SHA."""

    def __init__(self, repositories: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = repositories
        self.asked: list[tuple[str, str]] = []
        self.cut: set[str] = set()  # files of which half is sent, once, before the line breaks
        self.missing: set[str] = set()  # files that cannot be had
        self.tampered: set[str] = set()  # files that are not sent as they are listed
        self.ranges: list[tuple[str, int]] = []  # files asked for from a byte on
        self.halves: list[int] = []  # bytes sent of the files that were cut

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
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
        path = urlsplit(self.path).path
        for name, folder in self.server.repositories.items():
            if path.startswith(f"/api/datasets/{name}"):
                self.info(name, folder, path.removeprefix(f"/api/datasets/{name}"))
                return
            if path.startswith(f"/datasets/{name}/resolve/{SHA}/"):
                self.file(folder, path.split(f"{SHA}/")[1])
                return
        if "closed" in path:
            self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def info(self, name: str, folder: Path, revision: str) -> None:
        if revision not in ("", "/revision/main", f"/revision/{SHA}"):
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        blobs = "blobs=true" in self.path.lower()
        listing = {
            "id": name, "sha": SHA, "private": False, "downloads": 0, "likes": 0, "tags": [],
            "author": name.partition("/")[0],
            "siblings": [listed(p, p.relative_to(folder).as_posix(), blobs) for p in files],
        }  # fmt: skip
        self.answer(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})

    def file(self, folder: Path, name: str) -> None:
        content = (folder / name).read_bytes()
        if name in self.server.missing and self.command == "GET":
            self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        if name in self.server.tampered:
            content = bytes([content[0] ^ 1]) + content[1:]
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": SHA, "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range")
        if asked and self.command == "GET":
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            self.server.ranges.append((name, start))
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], {**headers, "Content-Range": span})
        elif name in self.server.cut and self.command == "GET":
            self.server.cut.discard(name)
            half = len(content) // 2
            self.server.halves.append(half)
            self.answer(200, content[:half], {**headers, "Content-Length": str(len(content))})
            self.close_connection = True
        else:
            self.answer(200, content, headers)


def listed(path: Path, name: str, blobs: bool) -> dict[str, Any]:
    """Return a file as the Hub lists it, with its hashes where they are asked for."""
    if not blobs:
        return {"rfilename": name}
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    row: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
    if name.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        row["lfs"] = {"size": len(content), "sha256": digest, "pointerSize": 134}
    return row


@contextmanager
def serving(
    repositories: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    """Serve folders as repositories to huggingface-hub, with the library's cache in ``cache``."""
    from huggingface_hub import constants

    served = Hub(repositories)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", served.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield served
    served.shutdown()
    served.server_close()
