"""What a user chooses of the runs: algorithms, datasets, a base of comparisons, others' results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.errors import BenchError, closest
from reports.reading.runs import Cell


@dataclass(frozen=True)
class Selection:
    """A choice of runs; empty fields choose all.

    algorithms, datasets: names and ids, as in the rows. against: the name or the label of the
    method that pairwise tests compare with. others: results folders, tables or the word
    `reference`, whose rows stand beside the report's own.
    """

    algorithms: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    against: str | None = None
    others: tuple[str, ...] = ()

    def chosen(self, cells: Sequence[Cell], where: str) -> list[Cell]:
        """Return the cells that are chosen.

        where: what the runs are called in a sentence. Raises BenchError for a name that no run has,
        and where no run has both.
        """
        wanted = {"algorithm": self.algorithms, "dataset": self.datasets}
        for column, names in wanted.items():
            known = sorted({str(cell[column]) for cell in cells})
            for name in names:
                if name not in known:
                    raise BenchError(
                        f"there is no run of the {column} '{name}' in {where}: "
                        f"{closest(name, known)}"
                    )
        chosen = [
            cell
            for cell in cells
            if all(not names or cell[column] in names for column, names in wanted.items())
        ]
        if cells and not chosen:
            raise BenchError(
                f"no run of {_listed(self.algorithms)} on {_listed(self.datasets)} in {where}: "
                "choose fewer names"
            )
        return chosen


def _listed(names: Iterable[str]) -> str:
    return " or ".join(names)
