"""A study from Python: its scores and curves as tables, its figures and report.

study = bench.run(algorithms=["om2p", "bc"], seeds=2, preset="smoke")
study.scores, study.curves, study.plot(), study.report("out")
bench.open("results")  # the same for a folder that is there
"""

import base64
import html
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from bench.errors import BenchError, closest, counted
from bench.outside import Flags, TableRow
from bench.plan.config import RunConfig, make_config
from bench.plan.flags import parse_names, parse_seeds
from bench.results import store
from bench.results.exchange.result_sets import Runs
from bench.results.exchange.shipped import named_runs
from bench.results.record import Record
from bench.study import study
from bench.study.callbacks import Callback
from bench.study.progress import Quiet, make_display

if TYPE_CHECKING:
    import pandas as pd

    from reports.build import Written
    from reports.drawing.canvas import SavedFigure


class Study(Sequence[Record]):
    """The cells of a study: a sequence of their records, with tables, figures and a report."""

    def __init__(
        self, folder: str | Path, records: Sequence[Record], runs: Runs | None = None
    ) -> None:
        """Keep where the results lie and the records of the cells that belong to the study.

        runs: the set of results that they were read from, where it has no folders of cells.
        """
        self.folder = Path(folder)
        self.records = list(records)
        self._runs = runs or Runs(self.folder, {record.cell: record for record in records})

    @property
    def scores(self) -> "pd.DataFrame":
        """One row a cell, with the columns of docs/results-format.md."""
        return store.frame_of(self._current())

    def _current(self) -> list[Record]:
        """Return the records as the results folder has them now, in its order."""
        known = {record.cell: record for record in self.records}
        if not self._runs.folders:
            return self.records
        return [one for cell, one in store.read_records(self.folder).items() if cell in known]

    @property
    def curves(self) -> "pd.DataFrame":
        """One row an evaluation: cell, algorithm, dataset, seed, then progress.jsonl's columns.

        An algorithm's own metrics have their names, such as `critic/loss`.
        """
        import pandas as pd

        rows = [row for record in self.records for row in self._evaluations(record)]
        return pd.DataFrame(rows)

    def _evaluations(self, record: Record) -> Iterator[TableRow]:
        head = {
            "cell": record.cell, "algorithm": record.algorithm.name, "dataset": record.dataset.id,
            "seed": record.seed,
        }  # fmt: skip
        for row in self._runs.progress(record.cell):
            plain = {key: value for key, value in row.items() if key != "metrics"}
            yield head | plain | (row.get("metrics") or {})

    def plot(self, task: str | None = None) -> "Figures":
        """Return the report's learning curves over updates: a figure per task.

        task: only of this one. A notebook shows what is returned. Raises BenchError where no
        evaluation was made.
        """
        from reports import build

        drawn = build.learning_curves(self.folder, [record.cell for record in self.records])
        if task is not None:
            drawn = [figure for figure in drawn if figure.title.startswith(f"{task}:")]
        if not drawn:
            where = "" if task is None else f" on {task}"
            raise BenchError(f"there is no learning curve{where}: no cell of it has an evaluation")
        return Figures(drawn)

    def report(self, to: str | Path = "reports/out", **options: Any) -> "Written":
        """Write the report of the results folder, all its cells, and return what was written.

        options: as in `reports.build.write`, for example siunitx=True.
        """
        import reports

        return reports.write(self.folder, Path(to), **options)

    @overload
    def __getitem__(self, at: int) -> Record: ...

    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...

    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        """Return the record of a cell, in the order of the study."""
        return self.records[at]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.records)

    def __repr__(self) -> str:
        """Say where the results lie, how many cells there are, and of what."""
        states = Counter(record.status for record in self.records)
        names = dict.fromkeys(record.algorithm.name for record in self.records)
        where = dict.fromkeys(record.dataset.id for record in self.records)
        listed = ", ".join(f"{count} {status}" for status, count in sorted(states.items()))
        return (
            f"Study({str(self.folder)!r}: {counted(len(self), 'cell')}, {listed or 'none'}; "
            f"{', '.join(names)} on {', '.join(where)})"
        )


class Figures(Sequence["SavedFigure"]):
    """Figures of a report, which a notebook shows; each has `png`, `title` and `caption`."""

    def __init__(self, figures: Sequence["SavedFigure"]) -> None:
        """Keep the figures."""
        self._figures = list(figures)

    @overload
    def __getitem__(self, at: int) -> "SavedFigure": ...

    @overload
    def __getitem__(self, at: slice) -> list["SavedFigure"]: ...

    def __getitem__(self, at: int | slice) -> "SavedFigure | list[SavedFigure]":
        """Return one of the figures."""
        return self._figures[at]

    def __len__(self) -> int:
        """Return the number of figures."""
        return len(self._figures)

    def save(self, folder: str | Path) -> list[Path]:
        """Write every figure as a PNG into a folder, and return the files."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{figure.name}.png" for figure in self._figures]
        for path, figure in zip(paths, self._figures, strict=True):
            path.write_bytes(figure.png)
        return paths

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return "".join(
            f'<figure><img width="{figure.size[0] // 2}" alt="{html.escape(figure.title)}" '
            f'src="data:image/png;base64,{base64.b64encode(figure.png).decode()}">'
            f"<figcaption>{html.escape(figure.caption)}</figcaption></figure>"
            for figure in self._figures
        )

    def __repr__(self) -> str:
        """Name the figures."""
        return f"Figures({', '.join(figure.title for figure in self._figures)})"


def run(
    config: RunConfig | None = None,
    callbacks: Sequence[Callback] = (),
    allow_failures: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> Study:
    """Run a study, and return it with all its cells finished.

    config: what to run; or give its fields by name, seeds as a count or a list:
    `bench.run(algorithms=["om2p", "bc"], seeds=2, preset="smoke")`. callbacks: see
    `bench.Callback`. allow_failures: return failed cells too instead of raising. progress: show it
    on the standard error; by default on a terminal and in a notebook.

    Raises StudyFailed, with the reasons, where a cell has failed or the study was interrupted;
    BenchError, AlgorithmError or DatasetError for what the user can put right. What was finished
    lies in the results folder in any case.
    """
    made = _configuration(config, options)
    shown = _watched() if progress is None else progress
    display: Callback = make_display() if shown else Quiet()
    records = study.finished(made, display, callbacks, allow_failures)
    return Study(made.out, records)


def open_study(
    where: str | Path, algorithms: Sequence[str] = (), datasets: Sequence[str] = ()
) -> Study:
    """Return results that are there as a study.

    where: a results folder, a table of rows (results.parquet or .csv), a folder of such tables, or
    "reference" for the shipped reference results. algorithms, datasets: only runs of these.
    Raises BenchError where nothing is there, or where no run has such a name.
    """
    runs = named_runs(str(where))
    records = list(runs.records.values())
    for flag, chosen, name_of in (
        ("algorithm", algorithms, lambda record: record.algorithm.name),
        ("dataset", datasets, lambda record: record.dataset.id),
    ):
        wanted = (chosen,) if isinstance(chosen, str) else tuple(chosen)
        known = sorted({name_of(record) for record in records})
        for name in wanted:
            if name not in known:
                raise BenchError(
                    f"there is no run of the {flag} '{name}' in {where}: {closest(name, known)}"
                )
        records = [record for record in records if not wanted or name_of(record) in wanted]
    return Study(runs.source, records, runs)


def _configuration(config: RunConfig | None, options: Flags) -> RunConfig:
    """Return a configuration from itself or from its fields by name."""
    if config is not None or not options:
        if not isinstance(config, RunConfig):
            raise BenchError(
                f"bench.run takes a configuration, not a {type(config).__name__}: give it "
                "bench.RunConfig(algorithms=..., datasets=..., seeds=...), or these fields by name"
            )
        if options:
            raise BenchError("give a configuration or fields by name, not both: config.replace()")
        return config
    for name in ("algorithms", "datasets"):
        if isinstance(options.get(name), str):
            options[name] = parse_names(options[name], name)
        elif name in options:
            options[name] = tuple(options[name])
    seeds: Any = options.get("seeds")
    if isinstance(seeds, int | str) and not isinstance(seeds, bool):
        options["seeds"] = parse_seeds(str(seeds), "seeds")
    elif seeds is not None:
        options["seeds"] = tuple(seeds)
    return make_config(**options)


def _watched() -> bool:
    """Tell whether somebody watches: a terminal, or a notebook's kernel."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules
