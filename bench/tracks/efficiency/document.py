"""The JSON file of a measurement: the request and the raw samples. A measurement can continue."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import algorithms
import datasets
from bench.errors import BenchError
from bench.launchers.process import HOME
from bench.meters import machine
from bench.plan import plugins
from bench.results.record import MEASUREMENT
from bench.tracks.efficiency import reference_counts
from bench.tracks.efficiency.medians import CHAINS
from bench.tracks.efficiency.request import TASK, Request, key_of, settings_of
from bench.tracks.efficiency.samples import Configuration, Document, Row
from bench.tracks.efficiency.sizes import Size

SCHEMA = 1
KIND = MEASUREMENT
FILE_LIMIT = 256 * 2**20  # bytes; real files are far smaller
# The source files that decide what is measured and how.
MEASURED = (
    "algorithms/**/*.py", "algorithms/kernels/members.c",
    "bench/meters/*.py", "bench/launchers/process.py",
    *(f"bench/tracks/efficiency/{name}.py" for name in ("request", "subject", "timing", "job")),
)  # fmt: skip


def begin(request: Request, to: Path) -> Document:
    """Return the content of an existing file to continue, or new content."""
    if to.is_dir() or not to.absolute().parent.is_dir():
        raise BenchError(f"--to {to} cannot be written: give a file in a folder that exists")
    fresh = new(request)
    if not to.exists():
        return fresh
    document = read(to)
    old, asked = document["configuration"], fresh["configuration"]
    for key in sorted({*old, *asked}):
        if old.get(key) != asked.get(key):
            what = _difference(key, old.get(key), asked.get(key))
            raise BenchError(f"{to} holds another measurement ({what}): give --to another file")
    if document["entries"] != json.loads(json.dumps(fresh["entries"])):
        raise BenchError(
            f"{to} holds another measurement (a preset or a reference count has changed since): "
            "give --to another file"
        )
    document["failures"] = {}  # try again what failed
    return document


def _difference(key: str, old: object, new: object) -> str:
    """Return which value of a configuration differs, in words."""
    if key == "code":
        return "the code has changed since"
    if isinstance(old, str | int | float) and isinstance(new, str | int | float):
        return f"its {key} is {old}, not {new}"
    return f"its {key} differ"


def new(request: Request) -> Document:
    """Return a file's content before anything is measured."""
    rows = [_row(request, name, size) for name in request.algorithms for size in request.sizes]
    configuration: Configuration = {
        "algorithms": list(request.algorithms),
        "sizes": [size.as_dict() for size in request.sizes],
        "preset": request.preset,
        "overrides": request.overrides,
        "threads": request.threads,
        "seconds": request.seconds,
        "device": request.device,
        "kernels": list(request.kernels),
        "replicas": list(request.replicas),
        "plugins": [digest for _, digest in plugins.loaded()],
        "code": code_hash(),
    }
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "configuration": configuration,
        "versions": machine.versions().as_json(),
        "machine": None,
        "entries": rows,
        "costs": {},
        "rounds": {},
        "failures": {},
    }


def _row(request: Request, name: str, size: Size) -> Row:
    """Return what is known about an algorithm at a size before it is measured."""
    settings = settings_of(request, name, size)
    row = algorithms.row(name)
    task = datasets.load_task(TASK, agents=size.agents)
    defaults = algorithms.default_settings(name)
    published = getattr(defaults, row.steps_setting or "", 1)
    return {
        "key": key_of(name, size),
        "algorithm": name,
        "version": row.version,
        "size": size.as_dict(),
        "settings": settings,
        "steps": settings.get(row.steps_setting, 1),
        "published_steps": published,
        "changed_chains": {
            key: [settings[key], getattr(defaults, key)]
            for key in CHAINS
            if key in settings and settings[key] != getattr(defaults, key)
        },
        "reference_flops": reference_counts.update_flops(
            name, settings, size.agents, task.observation_sizes[0], task.action_sizes[0], size.batch
        ),
    }


def code_hash() -> str:
    """Return 12 digits of a hash of the source files that decide what is measured and how."""
    digest = hashlib.sha256()
    for pattern in MEASURED:
        for path in sorted(HOME.glob(pattern)):
            digest.update(str(path.relative_to(HOME)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def read(path: Path) -> Document:
    """Return a measurement; BenchError where the file does not hold one."""
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise BenchError(f"{path} is too large for a measurement: name another file")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror}): name another file") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not valid JSON: name another file") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise BenchError(f"{path} was not written by `python -m bench measure`: name another file")
    if document.get("schema") != SCHEMA:
        raise BenchError(
            f"{path} has schema version {document.get('schema')!r}, but this om2p-bench reads "
            f"version {SCHEMA}: measure again"
        )
    return cast("Document", document)
