"""A study as a Slurm array job: one line per group of cells, picked by SLURM_ARRAY_TASK_ID.

Every group gets a results folder of its own, since a folder belongs to one run at a time;
`python -m bench collect` puts them together.
"""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.errors import counted
from bench.outside import Overrides
from bench.plan.config import RunConfig, job_words
from bench.plan.flags import swept, write_overrides, write_seeds
from bench.plan.grid import Cell, with_origins
from bench.plan.groups import Group

MARGIN_MEMORY, MARGIN_TIME = 1.5, 3.0  # asked for, as a multiple of what past cells took
MIB = 2**20


def script(
    groups: list[Group],
    config: RunConfig,
    needs: Mapping[str, tuple[float | None, int | None]],
    own: Callable[[Cell], Overrides] | None = None,
) -> str:
    """Return the job script of groups of cells that are trained together.

    needs: seconds and bytes of each cell by its id, None where unknown. own: overrides that a
    group's cells have besides those of their algorithm.
    """
    parts = parts_folder(config.out)
    origins = _origins(groups, config)
    command = [
        "exec ${PYTHON:-python} -m bench run",
        '--algos "$algorithm" --datasets "$dataset" --seeds "$seeds" --jobs 1',
        f'--out {shlex.quote(str(parts))}/"$cell" "${{settings[@]}}"',
        f"--replicas {config.replicas} " + ("" if origins else " ".join(job_words(config))),
    ]
    at_once = "" if config.jobs is None else f"%{config.jobs}"
    cells = sum(map(len, groups))
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=om2p-bench",
        f"#SBATCH --array=0-{len(groups) - 1}{at_once}",
        f"#SBATCH --cpus-per-task={config.threads}",
        *_resources(groups, config, needs),
        f"# {counted(cells, 'cell')} in {counted(len(groups), 'job')}: submit it with "
        "`sbatch FILE`. When all are done:",
        f"#   python -m bench collect {shlex.quote(str(parts))}/* --out "
        f"{shlex.quote(str(config.out))}",
        "set -euo pipefail",
        "groups=(",
        *(f'  "{_line(group)}"' for group in groups),
        ")",
        'read -r algorithm dataset seeds cell <<< "${groups[$SLURM_ARRAY_TASK_ID]}"',
        *(_own_flags(origins) if origins else _settings(groups, config.overrides)),
        *(_settings_of_groups(groups, own) if own else []),
        " \\\n  ".join(filter(None, command)),
    ]
    return "\n".join(lines)


def _line(group: Group) -> str:
    """Return what a job reads: algorithm, dataset, seeds, and the name of its folder."""
    first = group[0]
    seeds = write_seeds([cell.seed for cell in group])
    return f"{first.algorithm} {first.dataset} {seeds} {first.id}"


def parts_folder(out: Path) -> Path:
    """Return where the groups' own results folders lie: beside the study's."""
    return out.with_name(f"{out.name}-parts")


def _resources(
    groups: list[Group], config: RunConfig, needs: Mapping[str, tuple[float | None, int | None]]
) -> list[str]:
    """Return requests for memory, time and a GPU: the limits given, else what past cells took.

    A group takes as long as its cells one after the other, and as much memory as all of them.
    """
    lines = []
    if config.device == "cuda":
        lines.append("#SBATCH --gres=gpu:1")
    needed = [[needs.get(cell.id, (None, None)) for cell in group] for group in groups]
    sizes = [_total([size for _, size in cells]) for cells in needed]
    if config.memory_limit is not None:
        lines.append(f"#SBATCH --mem={math.ceil(config.memory_limit * 1024)}M")
    elif known := _all_known(sizes):
        lines.append(f"#SBATCH --mem={math.ceil(MARGIN_MEMORY * max(known) / MIB)}M")
    if config.timeout is not None:
        most = config.timeout * max(map(len, groups))
        lines.append(f"#SBATCH --time={math.ceil(most / 60) + 10}")
    elif known := _all_known([_total([seconds for seconds, _ in cells]) for cells in needed]):
        lines.append(f"#SBATCH --time={math.ceil(MARGIN_TIME * max(known) / 60) + 10}")
    return lines


def _total(amounts: Sequence[float | None]) -> float | None:
    """Return the sum of amounts, None where one is unknown."""
    known = _all_known(amounts)
    return sum(known) if known else None


def _all_known(amounts: Sequence[float | None]) -> list[float]:
    """Return the amounts, none at all where one is unknown."""
    known = [amount for amount in amounts if amount is not None]
    return known if len(known) == len(amounts) else []


def _settings_of_groups(groups: list[Group], own: Callable[[Cell], Overrides]) -> list[str]:
    """Return the lines that add a group's own `--set` flags to `settings`."""
    texts = {
        group[0].id: " ".join(f"--set {shlex.quote(one)}" for one in write_overrides(own(group[0])))
        for group in groups
    }
    cases = [f"  {cell}) settings+=({text});;" for cell, text in texts.items() if text]
    return ['case "$cell" in', *cases, "esac"] if cases else []


def _origins(groups: list[Group], config: RunConfig) -> dict[str, RunConfig]:
    """Return the configuration of each group, by its first cell, where not all have the same."""
    if not config.parts and not any(map(swept, config.overrides.values())):
        return {}
    known = {cell.id: plain for cell, plain in with_origins(config)}
    return {group[0].id: known[group[0].id] for group in groups if group[0].id in known}


def _own_flags(origins: Mapping[str, RunConfig]) -> list[str]:
    """Return the lines that put the flags of a group's own configuration into `settings`."""
    cases = []
    for cell, plain in origins.items():
        overrides = [f"--set {shlex.quote(one)}" for one in write_overrides(plain.overrides)]
        cases.append(f"  {cell}) settings=({' '.join([*overrides, *job_words(plain)])});;")
    return ["settings=()", 'case "$cell" in', *cases, "esac"]


def _settings(groups: list[Group], overrides: Overrides) -> list[str]:
    """Return the lines that put the `--set` flags of a cell's own algorithm into `settings`."""

    def flags(section: str) -> str:
        own = {key: value for key, value in overrides.items() if key.startswith(f"{section}.")}
        return " ".join(f"--set {shlex.quote(override)}" for override in write_overrides(own))

    shared = " ".join(filter(None, [flags("run"), flags("algorithm")]))
    lines = [f"settings=({shared})"]
    own = {name: flags(name) for name in dict.fromkeys(group[0].algorithm for group in groups)}
    if any(own.values()):
        cases = [f"  {name}) settings+=({text});;" for name, text in own.items() if text]
        lines += ['case "$algorithm" in', *cases, "esac"]
    return lines
