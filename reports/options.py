"""The options of a report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What a user may choose: interval, number columns, PDF files, and the command to name."""

    uncertainty: str = "ci95"
    siunitx: bool = False
    pdf: bool = False
    command: str = "python -m bench report"
