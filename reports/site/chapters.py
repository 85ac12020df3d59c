"""The chapters of the published page: a question each, answered by sentences, tables, figures."""

from dataclasses import dataclass, field

from reports.drawing.canvas import SavedFigure
from reports.findings import kinds
from reports.reading import answer, stress
from reports.reading.results import Results
from reports.site import summaries
from reports.tables.model import Table

# Which figures and tables stand in which chapter, by the beginning of their names.
FIGURES = {
    "policies": ("aggregates", "profiles", "improvement", "scores_"),
    "costs": ("pareto_", "efficiency", "costs"),
    "tuning": ("tuning_",),
    "robustness": ("robustness",),
    "data": ("fractions", "data_fractions"),
    "growth": ("scaling",),
}
TABLES = {
    "costs": ("efficiency", "counts"),
    "tuning": ("tuning",),
    "robustness": ("robustness",),
    "published": ("published",),
}
QUESTIONS = {
    "policies": "Which policy for which kind of data",
    "costs": "At what cost",
    "tuning": "How much tuning",
    "robustness": "How robust",
    "data": "With how much data",
    "growth": "How it scales",
    "claims": "What the paper says, what we found",
    "published": "Published beside measured",
    "rest": "All tables and curves",
}
# What measures a chapter, where nothing is there to show.
COMMANDS = {
    "policies": "python -m bench run --algos all --seeds 5 --preset cpu",
    "costs": "python -m bench measure --algos all --to results/efficiency.json",
    "tuning": "python -m bench tune --algos all --trials 16",
    "robustness": "python -m bench stress",
    "data": "python -m bench run --algos om2p,bc --seeds 3 --preset cpu --fraction 0.1",
    "growth": "python -m bench run --algos om2p,bc --seeds 3 --preset cpu "
    "--datasets mpe/spread/expert,mpe/spread-6/expert,mpe/spread-12/expert",
    "published": "python -m bench run --algos bc,omar,madiff-d --preset paper",
}


@dataclass
class Chapter:
    """One question of the page."""

    key: str
    title: str
    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[SavedFigure] = field(default_factory=list)

    @property
    def tables_first(self) -> bool:
        """Whether the tables are the answer and figures illustrate it."""
        return self.key == "policies"

    @property
    def command(self) -> str:
        """The command that measures it, where there is nothing to show; else empty."""
        there = self.sentences or self.tables or self.figures
        return "" if there else COMMANDS.get(self.key, "")


def build(
    results: Results, tables: list[Table], figures: list[SavedFigure], uncertainty: str
) -> list[Chapter]:
    """Return all chapters in the order of the page.

    tables, figures: those of a whole report, which are given to the chapters.
    """
    chapters = {key: Chapter(key, title) for key, title in QUESTIONS.items()}
    ranked = kinds.kinds(results)
    chapters["policies"].sentences = [kinds.sentence(kind) for kind in ranked]
    chapters["policies"].tables = [summaries.places(results, kind, uncertainty) for kind in ranked]
    chapters["costs"].sentences = _costs(results)
    chapters["robustness"].sentences = stress.sentences(results)
    chapters["data"].tables = summaries.fractions(results, uncertainty)
    chapters["growth"].tables = summaries.growth(results, uncertainty)
    chapters["claims"].tables = [summaries.claims_table(results)]
    for table in tables:
        chapters[_chapter(table.stem, TABLES)].tables.append(table)
    for figure in figures:
        chapters[_chapter(figure.name, FIGURES)].figures.append(figure)
    return list(chapters.values())


def _chapter(name: str, beginnings: dict[str, tuple[str, ...]]) -> str:
    """Return the key of the chapter that a figure or table belongs to."""
    return next((key for key, starts in beginnings.items() if name.startswith(starts)), "rest")


def _costs(results: Results) -> list[str]:
    """Say on each kind of data which of the leading methods costs least."""
    said = []
    for kind in kinds.kinds(results):
        leading = [one.method for one in kind.best]
        for column, words in answer.CHEAPEST.items():
            known = {
                method.label: cost
                for method in leading
                if (group := results.group(method, kind.tracks[0])) is not None
                and (cost := answer.cost(results, group, column)) is not None
            }
            if len(known) > 1 and len(known) == len(leading):
                first = min(known, key=lambda label: known[label])
                said.append(f"Of the leading methods on {kind.name} data, {first} {words}.")
    return said
