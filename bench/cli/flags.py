"""Flags that several commands share: their types and help."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where datasets lie: --data-dir /data  [default: OM2P_BENCH_DATA or the user's cache]",
        show_default=False,
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Transitions to record: --size 50000  [default: the recipe's]",
        show_default=False,
    ),
]
Rules = Annotated[
    str | None,
    typer.Option(
        help="Rules of the environment, omar or mpe2: --rules mpe2  [default: the task's]",
        show_default=False,
    ),
]
Prey = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Play against the prey in a file, OMAR's or one of ours: "
        "--prey simple_tag/pretrained_adv_model.pt  [default: the shipped one]",
        show_default=False,
    ),
]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="A Python file that registers tasks or algorithms of yours; may be repeated: "
        "--plugin my_task.py",
        show_default=False,
    ),
]
Algos = Annotated[
    str, typer.Option(help="Algorithms, a comma list (see `list algorithms`): --algos om2p,bc")
]
Datasets = Annotated[
    str, typer.Option(help="Datasets, a comma list (see `list datasets`); built if missing.")
]
Seeds = Annotated[
    str, typer.Option(help="A count (5 means 0,1,2,3,4), or a list: --seeds 3,7 (one seed: 3,)")
]
PresetName = Annotated[
    str, typer.Option("--preset", help="Budget and network sizes: smoke, quick, cpu or paper.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME.KEY=VALUE",
        help="Change one setting; may be repeated: --set om2p.q_weight=0.1 "
        "--set run.updates=500 --set algorithm.hidden=64x2 (all algorithms that have it)",
    ),
]
Out = Annotated[Path, typer.Option(help="The results folder: --out results-mine")]
DataSeed = Annotated[int, typer.Option(help="Seed of the recorded data: --data-seed 1")]
Fraction = Annotated[
    float, typer.Option(help="Share of the recorded episodes to train on: --fraction 0.1")
]
Device = Annotated[
    str, typer.Option(help="auto (a GPU if there is one), cpu or cuda: --device cpu")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        help="Cells that run side by side: --jobs 2  [default: one per core, or per GPU]",
        show_default=False,
    ),
]
JobsPerGpu = Annotated[
    int, typer.Option(help="Cells that share a GPU; above 1 their timings are marked as shared.")
]
Threads = Annotated[
    int, typer.Option(help="Threads of every worker; more than 1 changes rounding: --threads 4")
]
Replicas = Annotated[
    str,
    typer.Option(
        help="1: every cell alone; auto: seeds of a cell share a process, with the same numbers, "
        "and timings that say so."
    ),
]
Launcher = Annotated[
    str, typer.Option(help="local (processes of this machine) or ray: --launcher ray")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of a running Ray cluster: --address 10.0.0.1:6379  [default: RAY_ADDRESS, or a "
        "cluster of this machine alone]",
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        help="Seconds a cell may take before it is ended: --timeout 3600  [default: no limit]",
        show_default=False,
    ),
]
MemoryLimit = Annotated[
    float | None,
    typer.Option(
        help="GiB of memory a cell may use before it is ended: --memory-limit 4  "
        "[default: no limit]",
        show_default=False,
    ),
]
Resume = Annotated[
    str,
    typer.Option(
        help="only-missing: skip finished and failed cells, continue interrupted ones; failed: "
        "run failed cells again too; never: begin interrupted cells anew; always: run every "
        "cell again, finished ones included."
    ),
]
Format = Annotated[str, typer.Option("--format", help="table or json: --format json")]
PlanFormat = Annotated[
    str,
    typer.Option("--format", help="table, json, or slurm (an array job, a cell per index)."),
]
Tuned = Annotated[
    bool,
    typer.Option(
        "--tuned",
        help="Use values published for a dataset, where an algorithm has them (`list algorithms` "
        "says which); without it one set serves all datasets.",
    ),
]
Tensorboard = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        help="Write evaluations as TensorBoard event files into the cells' folders too (extra "
        "`track`); then: tensorboard --logdir results",
    ),
]
CellName = Annotated[str, typer.Option("--run", help="A cell's id (or folder): --run 0123456789ab")]
