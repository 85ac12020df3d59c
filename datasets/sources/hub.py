"""Published files from a data repository of the Hugging Face Hub (extra ``hub``).

The Hub's own library downloads: it goes on after a dropped connection, keeps what is complete, and
knows tokens and mirrors. Sizes and hashes are checked here, because it compares no content.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from datasets.errors import DatasetError, counted
from datasets.paths import CHUNK, Progress
from datasets.sources.archives import SPARE, SUFFIXES

PREFIX = "hub:"
ADDRESS = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?(?:/(?P<path>.+))?")
TIMEOUT = 20.0  # seconds for the first answer
TRIES = 3  # of a file whose connection breaks
MOST = 32 << 30  # bytes of one import: a folder named too high up is a mistake


class Announced(NamedTuple):
    """What the Hub says of a file before it is downloaded; None where it says nothing."""

    size: int | None
    sha256: str | None  # of large files
    blob: str | None  # of small ones: git's SHA-1 of the content


def download(address: str, progress: Progress | None = None) -> tuple[Path, dict[str, Any]]:
    """Download what ``hub:OWNER/NAME[@REVISION][/FOLDER]`` names; return its place and origin.

    Files stay in the Hub's own cache (``HF_HOME``), so that a second import downloads nothing, and
    an interrupted one goes on with the files that are missing. Every file is compared with the
    size and the hash that the Hub announces. FOLDER may go on into an archive of the repository.
    ``HF_ENDPOINT`` names another server.
    """
    name, revision, path = _parse(address)
    try:
        import huggingface_hub as library
        import huggingface_hub.errors
    except ImportError as error:
        raise DatasetError(
            "hub: addresses need huggingface-hub; install it with `pip install 'om2p-bench[hub]'`."
        ) from error
    try:
        api = library.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
        info = api.dataset_info(name, revision=revision, timeout=TIMEOUT, files_metadata=True)
        announced = {file.rfilename: _announced(file) for file in info.siblings or []}
        files = _wanted([*announced], path, address)
        _check_size(address, [announced[file] for file in files], library.constants.HF_HUB_CACHE)
        sizes = [announced[file].size or 0 for file in files]
        for number, file in enumerate(files):
            if progress is not None:  # inside a file the library shows its own
                done, total = (round(sum(part) / 1e6) for part in (sizes[:number], sizes))
                progress(done, total, f"downloading {file}, MB")
            place = _fetched(library, api, name, file, info.sha)
            _check_content(address, file, Path(place), announced[file])
    except _failures(library) as error:
        raise DatasetError(_sentence(error, address, library)) from error
    root = Path(place)
    for _ in PurePosixPath(files[-1]).parts:
        root = root.parent
    return root / path, {"repository": name, "revision": info.sha, "path": path}


def _parse(address: str) -> tuple[str, str | None, str]:
    match = ADDRESS.fullmatch(address)
    path = (match["path"] or "").strip("/") if match else ""
    if not match or ".." in PurePosixPath(path).parts:
        raise DatasetError(
            f"'{address}' is not an address of the form hub:OWNER/NAME[@REVISION][/FOLDER], such "
            "as hub:InstaDeepAI/og-marl/prior_work/omar/mpe/simple_spread.zip."
        )
    return match["name"], match["revision"], path


def _wanted(files: list[str], path: str, address: str) -> list[str]:
    """Return the files below a path: a file, a folder, or an archive on the way to it."""
    for part in (PurePosixPath(path), *PurePosixPath(path).parents):
        if str(part) in files and (str(part) == path or str(part).endswith(SUFFIXES)):
            return [str(part)]
    chosen = [file for file in files if not path or file.startswith(f"{path}/")]
    unsafe = [file for file in chosen if ".." in PurePosixPath(file).parts or file.startswith("/")]
    if not chosen or unsafe:
        folders = sorted({file.rpartition("/")[0] or file for file in files})
        raise DatasetError(
            f"{address} names no files of the repository, which holds {', '.join(folders[:12])}"
            f"{', ...' if len(folders) > 12 else ''}; name one of these."
        )
    return sorted(chosen)


def _announced(file: Any) -> Announced:
    """Return what the listing of a repository says of a file."""
    if file.lfs is not None:
        return Announced(file.lfs.size, file.lfs.sha256, None)
    return Announced(file.size, None, file.blob_id)


def _check_size(address: str, files: list[Announced], cache: str) -> None:
    """Refuse more than an import may be, and more than the disk of the cache holds."""
    total = sum(file.size or 0 for file in files)
    if total > MOST:
        raise DatasetError(
            f"{address} names {counted(len(files), 'file')} of {total / 1e9:.1f} GB together, more "
            f"than the {MOST / 1e9:.1f} GB of one import; name a folder further down."
        )
    place = Path(cache).expanduser()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if total > free - SPARE:
        raise DatasetError(
            f"{address} has {total / 1e9:.1f} GB, but the disk of {cache} has {free / 1e9:.1f} GB "
            "left; make room, or name another folder with HF_HOME."
        )


def _check_content(address: str, file: str, place: Path, announced: Announced) -> None:
    """Compare a downloaded file with its announced size and hash; remove one that differs."""
    size = place.stat().st_size
    same = announced.size in (None, size)
    if same and announced.sha256 is not None:
        same = _hash(place, hashlib.sha256()) == announced.sha256
    elif same and announced.blob is not None:
        same = _hash(place, hashlib.sha1(b"blob %d\0" % size)) == announced.blob
    if not same:
        place.resolve().unlink()  # in the cache a name is a link to the content
        place.unlink(missing_ok=True)
        raise DatasetError(
            f"{file} of {address} is not what the Hub announces (its size or hash differs) and was "
            "removed; run the command again to download it anew."
        )


def _hash(place: Path, digest: Any) -> str:
    """Return the hexadecimal digest of a file's content, after what ``digest`` has read."""
    with place.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return str(digest.hexdigest())


def _fetched(library: Any, api: Any, name: str, file: str, revision: str | None) -> str:
    """Download a file; take a broken connection up where it broke.

    The library keeps the part that it has; its versions differ in which breaks they go on after.
    """
    for tries in range(1, TRIES + 1):
        try:
            place: str = api.hf_hub_download(name, file, repo_type="dataset", revision=revision)
            return place
        except _client(library) as error:
            answered = isinstance(error, library.errors.HfHubHTTPError)  # by the server
            if answered or tries == TRIES:
                raise
    raise AssertionError("the last try returns or raises")


def _client(library: Any) -> tuple[type[BaseException], ...]:
    """Return the base class of all that the library's HTTP client raises; versions differ."""
    kinds = library.errors.HfHubHTTPError.__mro__
    return tuple(one for one in kinds if one.__name__ in ("HTTPError", "RequestException"))


def _failures(library: Any) -> tuple[type[BaseException], ...]:
    """Return what the library raises where something is missing, refused or out of reach."""
    errors = library.errors
    return (errors.EntryNotFoundError, errors.HFValidationError, OSError, *_client(library))


def _sentence(error: BaseException, address: str, library: Any) -> str:
    """Say in one sentence what the user can do."""
    errors = library.errors
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{address} names a revision that the repository does not have; name another."
    if isinstance(error, errors.GatedRepoError):
        return f"{address} is open only to those whom its owner has admitted; ask there for access."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{address} names no data repository that can be seen; check its name."
    reason = " ".join(str(error).split()) or type(error).__name__
    return (
        f"{address} cannot be downloaded ({type(error).__name__}: {reason[:200]}); check the "
        "network, or download the files elsewhere and import them from a folder."
    )
