"""Published scores beside ours, with what makes them comparable or not.

The two are never mixed: each has its own column, nothing is bold, and the last column says what
differs.
"""

from reports import captions
from reports.reading.published import ALGORITHMS, TASKS, Published, load, why_not
from reports.reading.results import Group, Results
from reports.tables.model import NOT_RUN, Head, Item, Notes, Row, Table


def table(results: Results, kind: str) -> list[Table]:
    """Return the comparison with published scores, where any exists for what was run."""
    known: dict[tuple[str, str, str], list[Published]] = {}
    for one in load():
        known.setdefault((one.task, one.quality, one.algorithm), []).append(one)
    notes, rows, groups = Notes(), [], []
    for track in results.tracks:
        for group in results.on(track):
            name = ALGORITHMS.get(group.method.algorithm, "")
            rivals = known.get((TASKS.get(track.task, ""), track.quality, name), [])
            if not rivals or not group.estimate("score").n:
                continue
            groups.append(group)
            rows += [_row(group, one, kind, notes) for one in rivals]
    if not rows:
        return []
    columns = [Head("ours"), Head("published"), Head("comparable")]
    caption = captions.sentence(
        f"Scores beside published ones: ours over {captions.seeds(groups)}, "
        f"{captions.episodes(groups)}",
        captions.interval("± of ours", kind, groups),
        "± of the published ones as their papers print it, see the notes",
        "The two columns are never mixed and nothing is bold",
    )
    return [
        Table(
            "published", "Beside published scores", caption, "algorithm", columns, rows,
            notes.by_letter(),
        )
    ]  # fmt: skip


def _row(group: Group, one: Published, kind: str, notes: Notes) -> Row:
    """Return our score, the published one where it may stand beside it, and what differs."""
    ours = group.estimate("score", kind)
    reason = why_not(group)
    source = notes.mark(f"{one.source}; {one.note}" if one.note else one.source)
    published = (
        Item(words=NOT_RUN, mark=source) if reason else Item(one.score, one.spread, mark=source)
    )
    imported = group.track.dataset.startswith("import/")
    caution = "" if imported else "same rules, but data recorded by our own policies"
    return Row(
        group.method.label,
        [
            Item(ours.value, ours.half_width, mark=notes.mark(group.trouble)),
            published,
            Item(
                words="no" if reason else "with care" if caution else "yes",
                mark=notes.mark(reason or caution),
            ),
        ],
        group.track.label,
    )
