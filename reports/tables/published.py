"""Published scores beside ours, on one scale, with what makes them comparable or not.

The two are never mixed: each has its own column, nothing is bold, and the last column says what
differs.
"""

from reports import captions
from reports.reading.published import (
    ALGORITHMS,
    TASKS,
    UNTRAINED,
    Published,
    cautions,
    load,
    quality_of,
    scale_of,
    why_not,
)
from reports.reading.results import Group, Results
from reports.tables.model import NOT_RUN, Head, Item, Notes, Row, Table

UNKNOWN_SCALE = "its source does not say which returns are 0 and 100, so no common scale is known"
NO_REFERENCES = "our task has no random and expert return, so no common scale is known"


def table(results: Results, kind: str) -> list[Table]:
    """Return the comparison with published scores, where any exists for what was run."""
    known: dict[tuple[str, str, str], list[Published]] = {}
    for one in load():
        known.setdefault((one.task, one.quality, one.algorithm), []).append(one)
    notes, rows, groups = Notes(), [], []
    for track in results.tracks:
        for group in results.on(track):
            name = ALGORITHMS.get(group.method.algorithm, "")
            rivals = known.get((TASKS.get(track.task, ""), quality_of(track, group), name), [])
            usable = group.estimate("return_mean").n and group.cells[0]["preset"] != UNTRAINED
            if not rivals or not usable:
                continue
            groups.append(group)
            rows += [_row(group, one, kind, notes) for one in rivals]
    if not rows:
        return []
    columns = [Head("ours"), Head("published"), Head("as printed"), Head("comparable")]
    caption = captions.sentence(
        f"Scores beside published ones: ours over {captions.seeds(groups)}, "
        f"{captions.episodes(groups)}",
        captions.interval("± of ours", kind, groups),
        "Both are on the scale of our references (0: a random team, 100: our expert data). The "
        "published score as printed was turned into a return by the random and expert return of "
        "its paper, and that into a score of ours",
        "± of the published ones as their papers define it, see the notes",
    )
    return [
        Table(
            "published", "Beside published scores", caption, "algorithm", columns, rows,
            notes.by_letter(),
        )
    ]  # fmt: skip


def _row(group: Group, one: Published, kind: str, notes: Notes) -> Row:
    """Return our score, the published one where it may stand beside it, and what differs."""
    ours, scale = group.estimate("score", kind), scale_of(group)
    same = None if scale is None else one.on(scale)
    reason = why_not(group)
    if not reason and same is None:
        reason = NO_REFERENCES if scale is None else UNKNOWN_SCALE
    source = f"{one.source}; {one.note}" if one.note else one.source
    if one.scale is not None:
        source += f"; printed with 0 = {one.scale.random:g} and 100 = {one.scale.expert:g}"
    careful = "; ".join(cautions(group))
    if reason or same is None:
        published, printed = Item(words=NOT_RUN), Item(words=NOT_RUN, mark=notes.mark(source))
    else:
        published = Item(same[0], same[1])
        printed = Item(one.score, one.spread, mark=notes.mark(source))
    return Row(
        group.method.label,
        [
            Item(ours.value, ours.half_width, words=NOT_RUN, mark=notes.mark(group.trouble)),
            published,
            printed,
            Item(
                words="no" if reason else "with care" if careful else "yes",
                mark=notes.mark(reason or careful),
            ),
        ],
        group.track.label,
        key=group.method.key,
    )
