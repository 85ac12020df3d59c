"""The identity of our datasets, known before any data are built.

A recipe is plain data: the task with its rules, the quality, the hash of the policies that act,
noise, size and seed. Reading it needs neither torch nor numpy.
"""

import hashlib
import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from datasets.environments.prey import EXTERNAL
from datasets.errors import DatasetError, unknown
from datasets.formats import imported
from datasets.tasks import TASKS, Task, load_task, task_ids
from datasets.views import grammar

BEHAVIOUR = Path(__file__).parent / "behaviour"
POLICIES = BEHAVIOUR / "policies"
FORMAT_VERSION = 1
UNRECORDED = ("fraction", "views", "views_version")  # what is done to a recording when it is read


@cache
def table() -> dict[str, Any]:
    """Return the recipe table that ships with the package."""
    return tomllib.loads((BEHAVIOUR / "recipes.toml").read_text())


def qualities(task_id: str) -> list[str]:
    """Return the qualities that can be built for a task, mixtures last; none for a plug-in's."""
    known = table()["tasks"].get(task_id)
    if known is None:
        return []
    mixtures = table()["mixtures"]
    made = [
        name for name, parts in mixtures.items() if {q for q, _ in parts} <= {*known["qualities"]}
    ]
    return [*known["qualities"], *made]


def version(task_id: str) -> int:
    """Return the version of a task's recipes today."""
    return int(table()["tasks"][task_id].get("version", table()["version"]))


def _checked_version(task_id: str, quality: str, asked: int | None) -> int:
    """Return the version that is asked for, by default today's, if it had that quality."""
    today = version(task_id)
    if asked in (None, today):
        return today
    row = table()["tasks"][task_id]
    since = row["qualities"].get(quality, {}).get("since", 1)
    if asked not in range(since, today):
        known = ", ".join(map(str, range(since, today + 1)))
        raise DatasetError(
            f"{task_id}/{quality} has no recipe of version {asked}; it has version {known}."
        )
    return int(asked or today)


def dataset_ids(data_dir: str | Path | None = None) -> list[str]:
    """Return ``<task>/<quality>`` for everything we can build, then what was imported."""
    ours = [f"{task}/{quality}" for task in task_ids() for quality in qualities(task)]
    return ours + imported.dataset_ids(data_dir)


def split(dataset_id: str) -> tuple[str, str]:
    """Split ``mpe/spread/expert`` into task and quality; unknown names raise with near ones."""
    task, _, quality = dataset_id.rpartition("/")
    if task not in task_ids() or quality not in qualities(task):
        raise unknown("dataset", dataset_id, dataset_ids())
    return task, quality


def team(task_id: str, name: str | None = None) -> dict[str, Any]:
    """Return how a team was trained and where its policies lie: the task's own, or a named one."""
    row: dict[str, Any] = table()["tasks"][task_id]
    if name is None:
        return row
    others = row.get("teams", {})
    if name not in others:
        raise unknown(f"team of {task_id}", name, others)
    return dict(others[name])


def teams(task_id: str) -> list[str | None]:
    """Return the names of a task's teams, its own first, which has none."""
    return [None, *table()["tasks"][task_id].get("teams", {})]


def team_of(task_id: str, quality: str, recipe_version: int | None = None) -> str | None:
    """Return the name of the team that records a quality; None for the task's own.

    recipe_version: today's by default. Of an earlier one the ``first_team`` recorded everything.
    """
    row = table()["tasks"][task_id]
    if recipe_version is not None and recipe_version < version(task_id):
        return str(row["first_team"])
    name = row["qualities"].get(quality, {}).get("team")
    return None if name is None else str(name)


def snapshot_of(task_id: str, quality: str) -> str:
    """Return the name of the snapshot that records a quality: its own unless the recipe says."""
    return str(table()["tasks"][task_id]["qualities"].get(quality, {}).get("snapshot", quality))


def policies_path(task_id: str, name: str | None = None) -> Path:
    """Return where the shipped behaviour policies of a task's team lie (see :func:`team`)."""
    return POLICIES / str(team(task_id, name)["policies"])


@cache
def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DatasetError(
            f"behaviour policies are missing at {path}; reinstall om2p-bench or train them with "
            "`python -m bench data train`."
        ) from error


def recipe(
    dataset_id: str,
    data_seed: int = 0,
    size: int | None = None,
    fraction: float = 1.0,
    rules: str | None = None,
    prey: str | None = None,
    data_dir: str | Path | None = None,
    recipe_version: int | None = None,
) -> dict[str, Any]:
    """Return the identity of a dataset as plain data.

    ``size`` is in transitions (default: the recipe's); ``fraction`` keeps that share of the
    recorded episodes, evenly spaced over the recording. Only an imported dataset is looked up in
    ``data_dir``; the data seed chooses among its recordings and does not concern a single one.
    ``prey`` may be a file: the recipe holds its hash. ``recipe_version`` asks for an earlier way of
    recording, whose scores refer to references of its own.
    """
    if not 0.0 < fraction <= 1.0:
        raise DatasetError(
            f"fraction {fraction} is outside (0, 1]; give the share of episodes to keep."
        )
    base, views = grammar.split(dataset_id)
    viewed = {"views": grammar.names(views), "views_version": grammar.VERSION} if views else {}
    if imported.is_imported(base):
        identity = imported.identity(base, size, rules, prey, data_dir, data_seed)
        return {"format": FORMAT_VERSION, **identity, "fraction": fraction, **viewed}
    task_id, quality = split(base)
    task = load_task(task_id, rules, prey)
    parts = _parts(task, quality, size)
    total = sum(part["size"] for part in parts)
    if any(part["size"] < task.horizon for part in parts):
        raise DatasetError(
            f"size {total} leaves a part of {dataset_id} without one episode of {task.horizon} "
            "steps; ask for more transitions."
        )
    uses_policy = any(part["quality"] != "random" for part in parts)
    _check_variant(task, dataset_id, uses_policy)
    chosen = _checked_version(task_id, quality, recipe_version)
    acting = policies_path(task_id, team_of(task_id, quality, chosen))
    return {
        "format": FORMAT_VERSION,
        "recipe_version": chosen,
        "task": task.id,
        "rules": task.rules,
        "prey": task.prey,
        "quality": quality,
        "parts": parts,
        "policies": _sha256(acting) if uses_policy else None,
        "horizon": task.horizon,
        "data_seed": data_seed,
        "fraction": fraction,
        **task.version_in_identity(),
        **viewed,
    }


def _check_variant(task: Task, dataset_id: str, uses_policy: bool) -> None:
    """Refuse to record with a team trained for something else: the name would not say so."""
    if task.prey == EXTERNAL:
        raise DatasetError(
            f"{dataset_id} is recorded with a prey inside the environment, so prey='{EXTERNAL}' "
            "cannot be used; name a prey's file, or leave the shipped one."
        )
    own = TASKS[task.id].rules
    if uses_policy and task.rules != own:
        raise DatasetError(
            f"the behaviour policies of {task.id} were trained under {own} rules, so {dataset_id} "
            f"cannot be recorded under {task.rules} rules; only {task.id}/random can."
        )


def _parts(task: Task, quality: str, size: int | None) -> list[dict[str, Any]]:
    """Return what is recorded one after another: quality, size in transitions, noise."""
    known = table()["tasks"][task.id]["qualities"]
    mixture = table()["mixtures"].get(quality, [[quality, 1.0]])
    total = size if size is not None else max(known[name]["size"] for name, _ in mixture)
    horizon = task.horizon
    return [
        {
            "quality": name,
            "size": round(total * share / horizon) * horizon,
            "noise": known[name].get("noise"),
        }
        for name, share in mixture
    ]


def recorded(identity: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an identity that decides the files: no fraction kept, and no views."""
    return {key: value for key, value in identity.items() if key not in UNRECORDED}


def digest(identity: dict[str, Any]) -> str:
    """Return 12 hex digits that name an identity."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
