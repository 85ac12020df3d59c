"""Tables of the published page alone: places per kind of data, shares of data, teams, claims."""

from bench.results import statistics
from bench.results.statistics import Estimate
from reports import captions
from reports.findings import claims
from reports.findings.kinds import UNTRAINED, Kind, base_of
from reports.reading import answer
from reports.reading.aggregates import RESAMPLES
from reports.reading.results import Method, Results, Track
from reports.tables.model import NOT_RUN, Head, Item, Notes, Row, Table, item


def places(results: Results, kind: Kind, uncertainty: str) -> Table:
    """Return the ranking of a kind of data: place, IQM, probability of improvement, scores."""
    notes = Notes()
    first = kind.places[0].method
    columns = [
        Head("place"), Head("IQM", better="up"), Head(f"P({first.label} is better)"),
        *(Head(track.task, "score", "up") for track in kind.tracks),
    ]  # fmt: skip
    rows = [
        Row(
            one.method.label,
            [
                Item(words=f"{one.place}, tied" if one.tied else str(one.place)),
                _ends(one.iqm, 1),
                Item(words=NOT_RUN) if one.chance is None else _ends(_other_way(one.chance), 2),
                *(score(results, one.method, track, uncertainty) for track in kind.tracks),
            ],
            key=one.method.key,
        )
        for one in kind.places
    ]
    rows += [
        Row(
            method.label,
            [
                Item(words=NOT_RUN, mark=notes.mark(why.removeprefix("no aggregate: "))),
                Item(words=NOT_RUN), Item(words=NOT_RUN),
                *(score(results, method, track, uncertainty) for track in kind.tracks),
            ],
            key=method.key,
        )
        for method, why in kind.refused.items()
    ]  # fmt: skip
    groups = [group for track in kind.tracks for group in results.on(track)]
    caption = captions.sentence(
        f"Scores of the last checkpoint on {kind.name} data ({captions.setting(kind.tracks[0])}): "
        f"{captions.seeds(groups)}, {captions.episodes(groups)}",
        "A place is one plus the number of methods whose interval of the IQM lies above; methods "
        "of one place are tied",
        f"In brackets: {statistics.BOOTSTRAP}, {RESAMPLES} resamples; "
        f"{statistics.BOOTSTRAP_COVERAGE}",
        captions.interval("±", uncertainty, groups),
        captions.trials(groups),
    )
    title = f"Places on {kind.name} data"
    return Table(
        f"places_{kind.name}", title, caption, "algorithm", columns, rows, notes.by_letter(),
        widest=len(columns),
    )  # fmt: skip


def score(
    results: Results,
    method: Method,
    track: Track,
    uncertainty: str,
    column: str = "score",
    bold: bool = False,
) -> Item:
    """Return the place of a method's number on a track: words where there is none."""
    group = results.group(method, track)
    if group is None or not group.estimate(column).n:
        return Item(words=NOT_RUN if group is None else group.word or NOT_RUN)
    return item(group.estimate(column, uncertainty), bold=bold)


def _other_way(chance: Estimate) -> Estimate:
    """Return P(the first is better) from P(the other is)."""
    low, high = (None if end is None else 1 - end for end in (chance.high, chance.low))
    value = None if chance.value is None else 1 - chance.value
    return Estimate(value, low, high, chance.n, chance.missing, chance.kind, chance.note)


def _ends(estimate: Estimate, digits: int) -> Item:
    """Return a number with the ends of its interval, which need not lie evenly about it."""
    if estimate.value is None:
        return Item(words=NOT_RUN)
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is not None and estimate.high is not None:
        text += f" [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    return Item(words=text)


def fractions(results: Results, uncertainty: str) -> list[Table]:
    """Return scores by the share of the data, where one dataset was used in several shares."""
    by_rest: dict[tuple[object, ...], list[Track]] = {}
    for track in results.tracks:
        # all that defines a track but its fraction, its checksum and the size of its updates
        rest = (*track.key[:3], *track.key[4:-1])
        by_rest.setdefault(rest, []).append(track)
    several = [tracks for tracks in by_rest.values() if len(_shares(tracks)) > 1]
    shares = sorted({share for tracks in several for share in _shares(tracks)}, reverse=True)
    rows = []
    for tracks in several:
        by_share = {float(track.key[3] or 1): track for track in tracks}
        methods = [m for m in results.methods if sum(bool(results.group(m, t)) for t in tracks) > 1]
        rows += [
            Row(
                method.label,
                [
                    score(results, method, by_share[share], uncertainty)
                    if share in by_share else Item(words=NOT_RUN)
                    for share in shares
                ],
                tracks[0].dataset,
                key=method.key,
            )
            for method in methods
        ]  # fmt: skip
    columns = [Head(f"{share:g}", "share of the data", "up") for share in shares]
    return _grid(
        results, "fractions", "Scores by the share of the data", columns, rows, uncertainty
    )


def _shares(tracks: list[Track]) -> set[float]:
    return {float(track.key[3] or 1) for track in tracks}


def growth(results: Results, uncertainty: str) -> list[Table]:
    """Return scores by the number of agents, where a task was run with several.

    Without the references of all sizes there are returns, which only compare methods of one size.
    """
    by_base: dict[tuple[object, ...], dict[str, Track]] = {}
    for track in results.tracks:
        key = (base_of(track.task), track.quality, track.setting)
        by_base.setdefault(key, {})[track.task] = track
    several = {key: tasks for key, tasks in by_base.items() if len(tasks) > 1}
    names = sorted({name for tasks in several.values() for name in tasks}, key=_agents)
    groups = [g for tasks in several.values() for t in tasks.values() for g in results.on(t)]
    column = answer.measure([group for group in groups if group.estimate("return_mean").n])
    rows = []
    for (_, quality, _), tasks in several.items():
        methods = [
            m for m in results.methods if sum(bool(results.group(m, t)) for t in tasks.values()) > 1
        ]
        rows += [
            Row(
                method.label,
                [
                    score(results, method, tasks[name], uncertainty, column)
                    if name in tasks else Item(words=NOT_RUN)
                    for name in names
                ],
                str(quality),
                key=method.key,
            )
            for method in methods
        ]  # fmt: skip
    what = "score" if column == "score" else "return"
    columns = [Head(name, what, "up") for name in names]
    title = f"{what.capitalize()}s by the size of the team"
    return _grid(results, "growth", title, columns, rows, uncertainty, what)


def _agents(task: str) -> tuple[str, int]:
    base = base_of(task)
    return base, int(task.removeprefix(base).removeprefix("-") or 0)


def _grid(
    results: Results, stem: str, title: str, columns: list[Head], rows: list[Row], uncertainty: str,
    what: str = "score",
) -> list[Table]:  # fmt: skip
    if not rows:
        return []
    groups = [group for group in results.groups if group.estimate("return_mean").n]
    caption = captions.sentence(
        f"{what.capitalize()}s of the last checkpoint: {captions.seeds(groups)}",
        "Returns of teams of unequal size are no measure of quality: compare within a column"
        if what == "return"
        else "",
        captions.interval("±", uncertainty, groups),
        f"{NOT_RUN}: not run",
    )
    return [Table(stem, title, caption, "algorithm", columns, rows, widest=len(columns))]


def claims_table(results: Results) -> Table:
    """Return what the paper says and what these results say; notes hold rules and commands."""
    notes = Notes()
    rows = []
    for claim, finding in claims.findings(results):
        number = "; ".join(part for part in (finding.number, finding.note) if part)
        note = notes.mark(f"{claim.rule.rstrip('.')}: {claim.command}")
        bold = finding.verdict == claims.SUPPORTED
        verdict = Item(words=finding.verdict, bold=bold, mark=note)
        rows.append(Row(claim.says, [verdict, Item(words=number or NOT_RUN)]))
    caption = captions.sentence(
        "Claims of the OM2P paper (arXiv 2508.06269) beside these results. A verdict follows from "
        "the rows by the rule in its note, which ends in the command that measures it",
        f"Runs of the preset {UNTRAINED} count for nothing",
    )
    columns = [Head("what we found"), Head("number and interval")]
    title = "Claim by claim"
    return Table("claims", title, caption, "claim", columns, rows, notes.by_letter())
