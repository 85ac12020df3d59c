"""What the data look like and how their share matters: return histograms, data fractions."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.outside import Card
from bench.results.section import value_at
from reports import captions, style
from reports.drawing import canvas
from reports.drawing.axes import better
from reports.figures.curves import AXES, measure
from reports.reading.results import Method, Results, Track

MOST_BINS = 10_000
FILLS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F", "#000000")


def histograms(
    results: Results, task: str, tracks: list[Track], folder: Path
) -> list[canvas.SavedFigure]:
    """Draw the distribution of the recorded episodes' returns, one line per dataset of a task."""
    drawn = {track: card for track in tracks if (card := _histogram(results, track))}
    if not drawn:
        return []
    figure, axes = canvas.panels([task], [], height=1.5, foot=0.16 * -(-len(drawn) // 3))
    handles = []
    for track, colour in zip(drawn, FILLS * len(drawn), strict=False):
        counts, edges = drawn[track]
        # A density, because each dataset's bins have a width of their own.
        density = counts / counts.sum() / np.diff(edges)
        axes[0].stairs(density, edges, fill=True, color=colour, alpha=0.22)
        axes[0].stairs(density, edges, color=colour, linewidth=1.0)
        handles.append((track.short, colour))
    canvas.swatches(figure, handles, columns=3)
    canvas.outer_labels(axes, "return of an episode", "density")
    caption = captions.brief(
        f"Episodes per dataset: {', '.join(_episodes(results, track) for track in drawn)}"
    )
    name = f"returns_of_data_{style.slug(task)}"
    return [canvas.save(figure, folder, name, "Data", f"{task}: returns in the data", caption)]


def _card(results: Results, track: Track) -> Card:
    """Return the card that the track's runs recorded of their data, or an empty one."""
    for group in results.on(track):
        for cell in group.cells:
            if cell.record.dataset.card is not None:
                return cell.record.dataset.card
    return {}


def _histogram(results: Results, track: Track) -> tuple[np.ndarray, np.ndarray] | None:
    card = _card(results, track)
    counts, edges = (_numbers(card, key) for key in ("counts", "edges"))
    if counts is None or edges is None or len(edges) != len(counts) + 1:
        return None
    whole = bool((counts >= 0).all()) and counts.sum() > 0 and bool((np.diff(edges) > 0).all())
    return (counts, edges) if whole else None


def _numbers(card: Card, key: str) -> np.ndarray | None:
    """Return a list of a card's histogram, None where it holds anything but finite numbers."""
    values = value_at(card, f"returns.histogram.{key}")
    if not isinstance(values, list) or not 0 < len(values) <= MOST_BINS:
        return None
    if not all(type(value) in (int, float) and abs(value) < 1e15 for value in values):
        return None
    return np.array(values, dtype=float)


def _episodes(results: Results, track: Track) -> str:
    count = _card(results, track).get("n_episodes")
    return f"{track.short} {captions.thousands(count) if type(count) is int else 'not recorded'}"


def fractions(
    results: Results, task: str, tracks: list[Track], folder: Path, kind: str
) -> list[canvas.SavedFigure]:
    """Draw the score against the share of the data, where a dataset was run with several."""
    at = 3  # of a track's key: the fraction
    alike: dict[tuple[Any, ...], list[Track]] = defaultdict(list)
    for track in tracks:
        if isinstance(track.key[at], int | float):
            rest = track.key[:at] + track.key[at + 1 : -1]
            alike[rest].append(track)
    series = [sorted(some, key=lambda t: t.key[at]) for some in alike.values() if len(some) > 1]
    if not series:
        return []
    groups = [g for some in series for track in some for g in results.on(track)]
    column = measure(groups)
    curves = [_by_fraction(results, some, column, kind) for some in series]
    methods = [e for e in results.methods if any(e in curve for curve in curves)]
    if not methods:
        return []
    figure, axes = canvas.panels([some[0].dataset for some in series], methods)
    for axis, curve in zip(axes, curves, strict=True):
        for method, points in curve.items():
            x, y, low, high = np.array(points, dtype=float).T
            look = canvas.line(method)
            axis.plot(x, y, **look)
            axis.vlines(x, low, high, color=look["color"], linewidth=0.9, alpha=0.7)
        shares = sorted({point[0] for points in curve.values() for point in points})
        canvas.log_axis(axis, shares)
        axis.set_xticks(shares, [f"{share:g}" for share in shares])
    canvas.outer_labels(axes, "share of the data", better(AXES[column]))
    caption = captions.brief(
        f"last checkpoint, mean over {captions.seeds(groups)}",
        captions.interval("bars", kind, groups),
    )
    name = f"data_fraction_{style.slug(task)}"
    title = f"{task}: {AXES[column]} against the share of the data"
    return [canvas.save(figure, folder, name, "Data", title, caption)]


def _by_fraction(
    results: Results, tracks: list[Track], column: str, kind: str
) -> dict[Method, list[tuple[float, float, float, float]]]:
    """Return (fraction, mean, low, high) per method that was run with at least two fractions."""
    curves: dict[Method, list[tuple[float, float, float, float]]] = defaultdict(list)
    for track in tracks:
        for group in results.on(track):
            one = group.estimate(column, kind)
            if one.value is not None and not group.trouble:
                low = one.value if one.low is None else one.low
                high = one.value if one.high is None else one.high
                curves[group.method].append((float(track.key[3]), one.value, low, high))
    return {method: points for method, points in curves.items() if len(points) > 1}
