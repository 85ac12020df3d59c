"""Pieces of Markdown for the published page and whoever shows its figures."""

import html

from reports.drawing.canvas import DARK


def picture(title: str, name: str, folder: str = "") -> str:
    """Return a figure in Markdown, with its dark version for readers with a dark page.

    Figures have no ground of their own, so that black letters vanish on a dark page.
    """
    title = html.escape(title)
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{folder}{DARK}/{name}.png">'
        f'<img src="{folder}{name}.png" alt="{title}"></picture>'
    )
