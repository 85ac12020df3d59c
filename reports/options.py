"""The options of a report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What a user may choose: interval, number columns, PDF files, and the commands to name."""

    uncertainty: str = "ci95"
    siunitx: bool = False
    pdf: bool = False
    command: str = "python -m bench report"
    again: str = "python -m bench reproduce CELL"  # trains a run again
