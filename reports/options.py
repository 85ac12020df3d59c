"""What a user may choose about a report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What a user may choose about a report."""

    uncertainty: str = "ci95"
    siunitx: bool = False
    pdf: bool = False
    command: str = "python -m bench report"
