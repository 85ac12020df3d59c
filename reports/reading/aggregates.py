"""Scores over several datasets: which sets there are, and each algorithm's aggregates on them."""

from functools import lru_cache

from bench.results import statistics
from bench.results.statistics import StatisticsError
from reports.reading.results import Method, Results, Track

AGGREGATES = {
    "iqm": ("IQM", "up"),
    "mean": ("mean", "up"),
    "median": ("median", "up"),
    "optimality_gap": ("optimality gap", "down"),
}
RESAMPLES = 2_000


def runs_by_dataset(
    results: Results, method: Method, tracks: list[Track]
) -> dict[str, list[float | None]]:
    """Return a method's scores per track; a track it was not run on is an empty list."""
    scores = {}
    for track in tracks:
        group = results.group(method, track)
        scores[track.label] = group.values("score") if group else []
    return scores


def aggregates(
    results: Results, tracks: list[Track]
) -> tuple[dict[Method, dict[str, statistics.Estimate]], dict[Method, str]]:
    """Return each method's aggregates over the tracks, and for the others why there are none."""
    reached, refused = {}, {}
    for method in results.methods:
        runs = runs_by_dataset(results, method, tracks)
        if not any(runs.values()):
            continue
        absent = [label for label, values in runs.items() if not values]
        try:
            if absent:
                raise StatisticsError(f"no aggregate: not run on {_few(absent)}")
            reached[method] = statistics.aggregate(runs, resamples=RESAMPLES)
        except StatisticsError as error:
            refused[method] = str(error)
    return reached, refused


@lru_cache(maxsize=1)
def aggregate_sets(
    results: Results,
) -> list[tuple[list[Track], dict[Method, dict[str, statistics.Estimate]], dict[Method, str]]]:
    """Return the sets of datasets to aggregate over: each domain's and, where complete, all."""
    sets = []
    for tracks in results.settings:
        domains = list(dict.fromkeys(track.task.partition("/")[0] for track in tracks))
        chosen = [tracks] if len(domains) > 1 else []
        chosen += [[t for t in tracks if t.task.startswith(f"{domain}/")] for domain in domains]
        for some in chosen:
            reached, refused = aggregates(results, some) if len(some) > 1 else ({}, {})
            if reached:
                sets.append((some, reached, refused))
    return sets


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
