"""A tuning as figures and tables show it: panels, methods, and the trials' scores in each panel."""

from bench.results.tuning.tuning_file import Tuning
from reports.reading import order
from reports.reading.runs import Method, of_algorithm


def panels_of(tuning: Tuning) -> list[str]:
    """Return the panels: the mean over datasets, then each dataset; one where there is one."""
    mean = ["mean over datasets"] if len(tuning.datasets) > 1 and tuning.measure == "score" else []
    return [*mean, *tuning.datasets]


def columns_of(tuning: Tuning, name: str) -> dict[str, list[float]]:
    """Return what a method's trials scored by panel; panels without any result are left out."""
    values = {
        panel: tuning.values(name, panel) if panel in tuning.datasets else tuning.means(name)
        for panel in panels_of(tuning)
    }
    return {panel: scores for panel, scores in values.items() if scores}


def methods_of(tuning: Tuning) -> list[Method]:
    """Return the tuned algorithms in the order of all figures."""
    return [of_algorithm(name) for name in sorted(tuning.methods, key=order.of_algorithm)]
