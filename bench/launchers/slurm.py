"""A study as a Slurm array job: one line per cell, picked by SLURM_ARRAY_TASK_ID.

Every cell gets a results folder of its own, since a folder belongs to one run at a time;
`python -m bench collect` puts them together.
"""

import math
import shlex
from pathlib import Path
from typing import Any

from bench.errors import counted
from bench.plan.config import RunConfig, job_words
from bench.plan.flags import write_overrides
from bench.plan.grid import Cell

MARGIN_MEMORY, MARGIN_TIME = 1.5, 3.0  # asked for, as a multiple of what past cells took
MIB = 2**20


def script(cells: list[Cell], config: RunConfig, needs: list[tuple[float | None, Any]]) -> str:
    """Return the job script of `cells`; needs: seconds and bytes of each, None where unknown."""
    parts = parts_folder(config.out)
    command = [
        "exec ${PYTHON:-python} -m bench run",
        '--algos "$algorithm" --datasets "$dataset" --seeds "$seed," --jobs 1',
        f'--out {shlex.quote(str(parts))}/"$cell" "${{settings[@]}}"',
        " ".join(job_words(config)),
    ]
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=om2p-bench",
        f"#SBATCH --array=0-{len(cells) - 1}",
        f"#SBATCH --cpus-per-task={config.threads}",
        *_resources(config, needs),
        f"# {counted(len(cells), 'cell')}: submit it with `sbatch FILE`. When all are done:",
        f"#   python -m bench collect {shlex.quote(str(parts))}/* --out "
        f"{shlex.quote(str(config.out))}",
        "set -euo pipefail",
        "cells=(",
        *(f'  "{c.algorithm} {c.dataset} {c.seed} {c.id}"' for c in cells),
        ")",
        'read -r algorithm dataset seed cell <<< "${cells[$SLURM_ARRAY_TASK_ID]}"',
        *_settings(cells, config.overrides),
        " \\\n  ".join(filter(None, command)),
    ]
    return "\n".join(lines)


def parts_folder(out: Path) -> Path:
    """Return where the cells' own results folders lie: beside the study's."""
    return out.with_name(f"{out.name}-parts")


def _resources(config: RunConfig, needs: list[tuple[float | None, Any]]) -> list[str]:
    """Return requests for memory, time and a GPU: the limits given, else what past cells took."""
    lines = []
    if config.device == "cuda":
        lines.append("#SBATCH --gres=gpu:1")
    sizes = [size for _, size in needs]
    if config.memory_limit is not None:
        lines.append(f"#SBATCH --mem={math.ceil(config.memory_limit * 1024)}M")
    elif None not in sizes:
        lines.append(f"#SBATCH --mem={math.ceil(MARGIN_MEMORY * max(sizes) / MIB)}M")
    seconds = [time for time, _ in needs if time is not None]
    if config.timeout is not None:
        lines.append(f"#SBATCH --time={math.ceil(config.timeout / 60) + 10}")
    elif len(seconds) == len(needs):
        lines.append(f"#SBATCH --time={math.ceil(MARGIN_TIME * max(seconds) / 60) + 10}")
    return lines


def _settings(cells: list[Cell], overrides: dict[str, Any]) -> list[str]:
    """Return the lines that put the `--set` flags of a cell's own algorithm into `settings`."""

    def flags(section: str) -> str:
        own = {key: value for key, value in overrides.items() if key.startswith(f"{section}.")}
        return " ".join(f"--set {shlex.quote(entry)}" for entry in write_overrides(own))

    shared = " ".join(filter(None, [flags("run"), flags("algorithm")]))
    lines = [f"settings=({shared})"]
    own = {name: flags(name) for name in dict.fromkeys(cell.algorithm for cell in cells)}
    if any(own.values()):
        cases = [f"  {name}) settings+=({text});;" for name, text in own.items() if text]
        lines += ['case "$algorithm" in', *cases, "esac"]
    return lines
