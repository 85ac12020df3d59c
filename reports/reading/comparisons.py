"""Which methods pairwise tests compare: each with its own base, with the first, or with one."""

from collections.abc import Iterator

from bench.errors import BenchError, closest
from reports.reading.results import Group, Method, Results, Track

Pair = tuple[Track, Group, Group]  # where, the base, and what is compared with it


def pairs(results: Results) -> Iterator[Pair]:
    """Yield what is tested: every method of a track that has a result, with its base there.

    Raises BenchError where `results.against` names no method.
    """
    chosen = _chosen(results)
    for track in results.tracks:
        groups = [group for group in results.on(track) if group.estimate("return_mean").n]
        for group in groups:
            base = _base(group, groups, chosen)
            if base is not None and base is not group:
                yield track, base, group


def rule(results: Results) -> str:
    """Say what methods are compared with, for a caption."""
    chosen = _chosen(results)
    if chosen is not None:
        return f"Every method is compared with {chosen.label}"
    if any(base.method.variant == 0 and _of_one(base, other) for _, base, other in pairs(results)):
        return (
            "A variant is compared with its algorithm as the preset has it, every other method "
            "with the first of its dataset in the order of all tables"
        )
    return "Every method is compared with the first of its dataset in the order of all tables"


def _chosen(results: Results) -> Method | None:
    """Return the method that the user wants everything to be compared with."""
    name = results.against
    if name is None:
        return None
    for method in results.methods:
        if name in (method.label, method.key):
            return method
    for method in results.methods:  # of several variants the first, which is the most used one
        if name == method.algorithm:
            return method
    labels = [method.key for method in results.methods]
    raise BenchError(
        f"nothing can be compared with '{name}', which was not run: {closest(name, labels)}"
    )


def _base(group: Group, groups: list[Group], chosen: Method | None) -> Group | None:
    """Return what a group is compared with on its track; None where that was not run there."""
    if chosen is not None:
        return next((one for one in groups if one.method == chosen), None)
    own = (one for one in groups if one.method.variant == 0 and _of_one(one, group))
    return next(own, groups[0])


def _of_one(base: Group, other: Group) -> bool:
    """Tell whether one is a variant of the other's algorithm."""
    return base.method != other.method and base.method.algorithm == other.method.algorithm
