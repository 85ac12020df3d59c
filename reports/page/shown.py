"""What the page shows, as the template reads it: one dataclass per thing shown."""

import base64
from dataclasses import dataclass, field
from typing import TypedDict

from markupsafe import Markup

from reports.drawing.picture import Picture
from reports.reading.answer import Line

WIDE = 1000  # pixels of a figure that takes the whole width
Fact = tuple[str, str]  # its name, and the value as text


@dataclass(frozen=True)
class Summary:
    """What was run, in a headline and a few facts."""

    headline: str
    facts: list[Fact]
    cells: int
    pending: int  # queued or running


@dataclass(frozen=True)
class Card:
    """A dataset or a machine."""

    title: str
    facts: list[Fact]


@dataclass(frozen=True)
class Head:
    """The head of a column of the leaderboard."""

    name: str
    number: bool


@dataclass(frozen=True)
class Item:
    """One item of the leaderboard."""

    text: str
    sort: str | None = None  # what sorting goes by; None: the text
    number: bool = False
    note: str = ""
    picture: Markup = Markup("")


@dataclass(frozen=True)
class LeaderboardRow:
    """One method on one dataset."""

    task: str
    quality: str
    algorithm: str
    colour: str
    cells: list[Item]


@dataclass(frozen=True)
class Leaderboard:
    """Heads and rows, and what they can be filtered by."""

    heads: list[Head]
    rows: list[LeaderboardRow]
    key: list[tuple[str, str]]  # labels with a letter, and what they mean
    tasks: list[str]
    qualities: list[str]


@dataclass(frozen=True)
class Figure:
    """A figure with its picture inside the page."""

    name: str
    title: str
    caption: str
    size: tuple[int, int]  # pixels
    data: str  # PNG in base64
    dark: str  # the part of it that differs on a dark page, in base64
    file: str  # beside the page, a PDF file where there is one
    choice: str  # what it shows, where a chooser offers others

    @property
    def dark_data(self) -> str:
        """The whole PNG for a dark page, in base64: the same picture with its other palette."""
        png, palette = base64.b64decode(self.data), base64.b64decode(self.dark)
        return base64.b64encode(Picture(png, palette, self.size).dark).decode()


@dataclass(frozen=True)
class Figures:
    """Figures of the same results, of which the page shows one at a time; mostly a single one."""

    group: str
    members: list[Figure]

    @property
    def wide(self) -> bool:
        """Tell whether they take the whole width of the page."""
        return any(figure.size[0] > WIDE for figure in self.members)


@dataclass(frozen=True)
class TableItem:
    """One item of a table."""

    text: str
    bold: bool
    mark: str  # letter of a footnote


TableRows = list[tuple[str, list[tuple[str, list[TableItem]]]]]  # by group: head and items


@dataclass(frozen=True)
class Table:
    """A table, and its LaTeX source to copy."""

    stem: str
    open: bool  # whether it is unfolded at first
    title: str
    caption: str
    corner: str
    groups: list[tuple[str, int]]  # of columns: name and width
    heads: list[str]
    rows: TableRows
    notes: list[tuple[str, str]]
    key: list[tuple[str, str]]  # labels with a letter, and what they mean
    latex: str


@dataclass(frozen=True)
class Tuning:
    """The section of a tuning."""

    words: str
    figures: list[Figures]
    tables: list[Table]


@dataclass(frozen=True)
class Robustness:
    """The section on perturbations."""

    sentences: list[str]
    figures: list[Figures]
    tables: list[Table]
    notes: list[str]


@dataclass(frozen=True)
class Failure:
    """A run without a result."""

    word: str
    name: str
    error: str
    log: str


@dataclass(frozen=True)
class Animation:
    """An episode of a task's team."""

    task: str
    algorithm: str
    seed: str
    data: str = field(repr=False)  # GIF in base64


Value = list[int] | int | float | bool | None  # a text is the place of it in `Runs.strings`


class Run(TypedDict, total=False):
    """One run in the page's list, as JavaScript reads it."""

    row: list[Value]
    measure: str
    curve: list[list[float]]
    log: str


class Runs(TypedDict):
    """Every run as a compact row; each text stands once."""

    columns: list[str]
    sections: list[tuple[str, list[tuple[str, str]]]]
    strings: list[str]
    runs: list[Run]


@dataclass(frozen=True)
class About:
    """What the page shows beside figures and tables, by the names of the template."""

    css: Markup
    js: Markup
    cells: Markup  # `Runs` as JSON
    command: str
    checksum: str
    summary: Summary
    answer: list[Line]
    meaningless: str
    timing: str
    algos: str
    limits: list[str]
    warnings: list[str]
    leaderboard: Leaderboard
    leaderboard_caption: str
    animations: list[Animation]
    animations_left_out: list[str]
    failures: list[Failure]
    more_failures: int
    cards: list[Card]
