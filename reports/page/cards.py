"""The page's words on what was run: summary, limits, datasets, machines."""

from collections import Counter
from collections.abc import Iterator

from bench.errors import counted
from bench.outside import Card as DataCard
from bench.results import comparable
from bench.results.section import value_at
from reports import captions
from reports.page.shown import Card, Summary
from reports.reading.results import PENDING, WORDS, Results

CARD_FACTS = {
    "n_transitions": "transitions",
    "n_episodes": "episodes",
    "agents": "agents",
    "horizon": "horizon",
    "return_definition": "return",
    "replay_kind": "replay",
    "source": "source",
    "licence": "licence",
}
MACHINE_FACTS = {
    "processor": "processor",
    "cores": "cores",
    "threads": "threads",
    "kernels": "kernels",
    "memory_bytes": "memory (GiB)",
    "gpu": "GPU",
    "system": "system",
}
VERSIONS = ("python", "torch", "numpy", "mujoco")
GIB = 2.0**30
FEW_SEEDS = 5


def summary(results: Results) -> Summary:
    """Return the page's headline and its first facts."""
    algorithms = list(dict.fromkeys(method.algorithm for method in results.methods))
    datasets = list(dict.fromkeys(track.dataset for track in results.tracks))
    done = sum(not cell.word for cell in results.cells)
    pending = sum(cell["status"] in PENDING for cell in results.cells)
    presets = sorted({str(cell["preset"]) for cell in results.cells if cell["preset"]})
    dates = sorted(str(cell["created"])[:10] for cell in results.cells if cell["created"])
    facts = [
        ("runs", f"{done:,} finished of {len(results.cells):,}"),
        ("algorithms", ", ".join(algorithms) if len(algorithms) < 6 else str(len(algorithms))),
        ("datasets", ", ".join(datasets) if len(datasets) < 4 else str(len(datasets))),
        ("training seeds", captions.span(_seed_counts(results)) + " per algorithm and dataset"),
        ("preset", ", ".join(presets) or "not recorded"),
        ("run", " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "not recorded"),
    ]
    what = algorithms[0] if len(algorithms) == 1 else f"{len(algorithms)} algorithms"
    where = datasets[0] if len(datasets) == 1 else f"{len(datasets)} datasets"
    return Summary(f"{what} on {where}", facts, len(results.cells), pending)


def _seed_counts(results: Results) -> list[int]:
    return [len(group.cells) for group in results.groups]


def limits(results: Results) -> list[str]:
    """Return plain sentences on what these numbers cannot say."""
    sentences = []
    fewest = min(_seed_counts(results))
    if fewest < FEW_SEEDS:
        sentences.append(
            f"Some results rest on {counted(fewest, 'training seed')}: "
            + ("no interval can be given." if fewest == 1 else "their intervals are wide.")
        )
    sentences += [*_presets(results), *_tuning(results)]
    statuses = Counter(cell["status"] for cell in results.cells if cell["status"] != "done")
    if statuses:
        which = ", ".join(f"{count} {WORDS[status]}" for status, count in sorted(statuses.items()))
        sentences.append(f"Runs without a result: {which}. They enter no mean and are never bold.")
    missing = len(results.methods) * len(results.tracks) - len(results.groups)
    if missing:
        sentences.append(
            f"{missing} of {len(results.methods) * len(results.tracks)} pairs of algorithm and "
            "dataset were not run."
        )
    if len(results.tracks) == 1:
        sentences.append(
            "One dataset: nothing can be said about others, and nothing is aggregated."
        )
    if len(results.machine_classes) > 1:
        sentences.append(
            f"{len(results.machine_classes)} classes of machine: their timings are never mixed; "
            "figures show the one with most runs."
        )
    dirty = sum(bool(value_at(cell.record, "versions.dirty")) for cell in results.cells)
    if dirty:
        sentences.append(f"Made from a checkout with uncommitted changes: {counted(dirty, 'run')}.")
    sentences += [
        f"Marked ({source.name}): {counted(source.cells, 'run')} of {source.where}, not of these "
        f"results (commit {', '.join(source.commits) or 'not recorded'})."
        for source in results.sources
    ]
    sentences += filter(None, [captions.left_out(results.cells)])
    return [*sentences, *_recordings(results)]


def _recordings(results: Results) -> list[str]:
    """Say whether intervals cover the recorded data too."""
    alone = [track for track in results.tracks if not track.paired]
    if not alone:
        return ["Every training seed has a recording of its own: intervals cover the data too."]
    which = (
        ""
        if len(alone) == len(results.tracks)
        else (f" on {', '.join(track.label for track in alone)}")
    )
    return [
        f"Intervals{which} are over training seeds of one recorded dataset each: another "
        "recording of the same quality would move all numbers."
    ]


def _tuning(results: Results) -> list[str]:
    """Say how settings were chosen, and which runs are trials."""
    sentences = [f"{captions.trials(results.groups)}."]
    if results.later_trials:
        sentences.append(
            f"Under Tuning only: {counted(results.later_trials, 'run')} of a tuning, with other "
            "settings than the preset's."
        )
    return sentences


def _presets(results: Results) -> list[str]:
    """Name each preset with its updates, and what a small one is for."""
    known: dict[str, set[int]] = {}
    for cell in results.cells:
        updates = cell.number("updates")
        if cell["preset"] and updates is not None:
            known.setdefault(cell["preset"], set()).add(int(updates))
    sentences = []
    for preset, sizes in sorted(known.items()):
        counts = " or ".join(captions.thousands(count) for count in sorted(sizes))
        official = "" if preset == "paper" else "; it is not the official sizes and step counts"
        sentences.append(f"Preset {preset}: {counts} gradient updates{official}.")
    return sentences


def _origin(card: DataCard) -> list[tuple[str, str]]:
    """Return what an import recorded about its files: rows that obey the rules, and notes."""
    replay, notes = card.get("replay"), card.get("notes")
    facts: list[tuple[str, str]] = []
    if isinstance(replay, dict) and isinstance(replay.get("share"), float):
        facts.append(("rows that obey the rules", f"{100 * replay['share']:.1f} %"))
    if isinstance(replay, dict) and replay.get("accepted"):
        causes = replay.get("causes")
        why = (
            "; ".join(map(str, causes)) if isinstance(causes, list) and causes else "cause unknown"
        )
        facts.append(("beware", f"too few rows obey the task's rules: {why}"))
    return facts + ([("note", str(note)) for note in notes] if isinstance(notes, list) else [])


def datasets(results: Results) -> list[Card]:
    """Return a card per track, from what its runs recorded of their data."""
    shown = []
    for track in results.tracks:
        cells = [cell for group in results.on(track) for cell in group.cells]
        sections = (cell.record.dataset for cell in cells)
        section = next((one for one in sections if one.checksum), None)
        card = (section and section.card) or {}
        facts = [
            (name, captions.fact(card[key]))
            for key, name in CARD_FACTS.items()
            if card.get(key) is not None
        ]
        if section and "n_transitions" not in card and section.size is not None:
            facts.insert(0, ("transitions", captions.fact(section.size)))
        for column, name in (
            ("dataset_return", "mean return"), ("dataset_score", "score of the data"),
            ("random_return", "random return"), ("expert_return", "expert return"),
        ):  # fmt: skip
            value = next((v for cell in cells if (v := cell.number(column)) is not None), None)
            if value is not None:
                facts.append((name, f"{value:.1f}"))
        facts += [
            (name, captions.fact(section[key]))
            for key, name in (
                ("rules", "rules"),
                ("data_seed", "data seed"),
                ("fraction", "fraction"),
            )
            if section and section[key] is not None and not (key == "data_seed" and track.paired)
        ]
        facts += _origin(card)
        if track.paired:
            seeds = sorted(
                {int(n) for cell in cells if (n := cell.number("data_seed")) is not None}
            )
            facts.append(("data seeds", f"{', '.join(map(str, seeds))}, the training seeds'"))
        facts += _team(card)
        facts.append(("sha256", str((section and section.checksum) or "not recorded")[:16]))
        shown.append(Card(track.label, facts))
    return shown


def _team(card: DataCard) -> list[tuple[str, str]]:
    """Say who recorded the data: actors, roles, and how well networks predict the actions."""
    try:
        return list(_team_facts(card))
    except (KeyError, TypeError, ValueError, AttributeError):
        return [("behaviour", "the card of these data cannot be read")]


def _team_facts(card: DataCard) -> Iterator[tuple[str, str]]:
    parts = card.get("team") or []
    if parts:
        yield "behaviour", "; ".join(f"{part['quality']}: {part['actors']}" for part in parts)
    roles = card.get("roles")
    if roles:
        yield "role assignments", _percents([one["share"] for one in roles["assignments"]])
        yield "episodes on the commonest landmark, by agent", _percents(roles["kept"])
    cloning = card.get("cloning")
    if cloning:
        errors = ", ".join(f"{error:.3f}" for error in cloning["error"])
        noises = [f"{part['noise']:.2g}" for part in parts if part["noise"] is not None]
        beside = f" (noise {', '.join(noises)})" if noises else ""
        yield "error of actions predicted from own observations", errors + beside
    if card.get("saturated_action_share") is not None:
        yield "actions at the bounds", _percents([card["saturated_action_share"]])
    if card.get("coverage") is not None:
        yield "new observations with actions", _percents([card["coverage"]["pairs"]])


def _percents(shares: list[float]) -> str:
    return ", ".join(f"{100 * share:.1f} %" for share in shares)


def machines(results: Results) -> list[Card]:
    """Return a card per class of machine with its versions and how many runs it made."""
    shown = []
    for name in results.machine_classes:
        cells = [cell for cell in results.cells if cell["machine_class"] == name]
        record = cells[0].record
        facts = [("runs", captions.fact(len(cells)))]
        for key, label in MACHINE_FACTS.items():
            value = value_at(record, f"machine.{key}")
            if key == "memory_bytes":
                value = f"{value / GIB:.0f}" if isinstance(value, int) else None
            if value is not None:
                facts.append((label, str(value)))
        versions = {key: value_at(record, f"versions.{key}") for key in VERSIONS}
        facts += [(key, str(value)) for key, value in versions.items() if value]
        shown.append(Card("Machine", [("class", name), *facts]))
    return shown


def sources(results: Results) -> list[Card]:
    """Return a card per set of results of others that stand beside these, with its commits."""
    shown = []
    for source in results.sources:
        cells = [cell for cell in results.cells if cell.source == source.name]
        machines = sorted({str(cell["machine_class"]) for cell in cells if cell["machine_class"]})
        untimed = sum(cell.excluded == comparable.ELSEWHERE for cell in cells)
        facts = [
            ("from", source.where),
            ("rows shown", captions.fact(len(cells))),
            ("rows on other datasets", captions.fact(source.elsewhere)),
            ("commits", ", ".join(source.commits) or "not recorded"),
            ("machines", "; ".join(machines) or "not recorded"),
        ]
        if untimed:
            facts.append(("rows without times", f"{untimed:,}, {comparable.ELSEWHERE}"))
        facts += [("left out", sentence) for sentence in source.refused]
        shown.append(Card(f"Results of others: {source.name}", facts))
    return shown
