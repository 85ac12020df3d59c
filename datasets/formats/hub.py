"""Published files from a data repository of the Hugging Face Hub (extra ``hub``)."""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from datasets.errors import DatasetError
from datasets.formats.archives import SUFFIXES

PREFIX = "hub:"
ADDRESS = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?(?:/(?P<path>.+))?")
TIMEOUT = 20.0  # seconds for the first answer


def download(address: str) -> tuple[Path, dict[str, Any]]:
    """Download what ``hub:OWNER/NAME[@REVISION][/FOLDER]`` names; return its place and origin.

    Files stay in the Hub's own cache (``HF_HOME``), so that a second import downloads nothing.
    FOLDER may go on into an archive of the repository. ``HF_ENDPOINT`` names another server.
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
        info = api.dataset_info(name, revision=revision, timeout=TIMEOUT)
        files = _wanted([file.rfilename for file in info.siblings or []], path, address)
        for file in files:
            place = api.hf_hub_download(name, file, repo_type="dataset", revision=info.sha)
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


def _failures(library: Any) -> tuple[type[BaseException], ...]:
    """Return what the library raises where something is missing, refused or out of reach."""
    errors = library.errors
    # The base class of everything that its HTTP client raises; which client depends on its version.
    client = [
        kind
        for kind in errors.HfHubHTTPError.__mro__
        if kind.__name__ in ("HTTPError", "RequestException")
    ]
    return (errors.EntryNotFoundError, errors.HFValidationError, OSError, *client)


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
