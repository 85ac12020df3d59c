"""What `measure` does; it returns its exit code."""

import sys
from pathlib import Path
from typing import Any

import algorithms
from bench.cli.commands import INTERRUPTED
from bench.errors import BenchError
from bench.plan import plugins
from bench.tracks.efficiency import medians, tables
from bench.tracks.efficiency import rounds as track
from bench.tracks.efficiency.document import Document, read
from bench.tracks.efficiency.request import make_request


def measure(flags: dict[str, Any]) -> int:
    """Measure, or read what was measured; print the tables, draw the figure."""
    if flags["format_"] not in tables.FORMATS:
        raise BenchError(f"--format {flags['format_']!r} is not one of {', '.join(tables.FORMATS)}")
    picture = flags["figure"]
    if picture is not None and picture.suffix not in (".png", ".pdf"):
        raise BenchError(f"--figure {picture} must end in .png or .pdf")
    code = 0
    if flags["show"] is not None:
        document = read(flags["show"])
    else:
        document, code = _measure(flags)
    if not document["costs"]:
        return code
    tables.FORMATS[flags["format_"]](document)
    if picture is not None:
        draw(document, picture)
        print(f"figure: {picture}", file=sys.stderr)
    return code


def draw(document: Document, picture: Path) -> None:
    """Draw the costs at the base size."""
    from bench.results.statistics import Estimate
    from reports.figures import costs

    found = medians.summarise(document)
    here = [one for one in found if one.size == found[0].size]

    def point(value: float | None, scale: float) -> Estimate:
        return Estimate(None if value is None else value * scale, None, None, 1)

    def spread(one: medians.Spread | None, scale: float) -> Estimate:
        if one is None:
            return Estimate(None, None, None, 0)
        low, high = one.low * scale, one.high * scale
        return Estimate(one.median * scale, low, high, one.rounds)

    rows = [
        costs.Costs(
            one.algorithm,
            (
                spread(one.time, 1e3),
                point(one.peak, 1 / tables.MIB),
                point(one.latency.get(50), 1e6),
            ),
        )
        for one in here
    ]
    try:
        costs.draw(rows, picture)
    except OSError as error:
        raise BenchError(f"--figure {picture} cannot be written ({error.strerror})") from error


def _measure(flags: dict[str, Any]) -> tuple[Document, int]:
    """Measure, and return the file's content and the exit code."""
    plugins.load_all(flags["plugin"] or [])
    algos = ",".join(algorithms.names()) if flags["algos"] == "all" else flags["algos"]
    request = make_request(
        algos,
        flags["agents"],
        flags["batch"],
        flags["hidden"],
        flags["set_"] or [],
        rounds=flags["rounds"],
        preset=flags["preset"],
        threads=flags["threads"],
        seconds=flags["seconds"],
        device=flags["device"],
    )
    to: Path = flags["to"]
    try:
        document = track.run(request, to, lambda text: print(text, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print(f"interrupted: {to} keeps what is done; the same command goes on", file=sys.stderr)
        return (read(to) if to.exists() else {"costs": {}}), INTERRUPTED
    print(f"raw samples: {to}", file=sys.stderr)
    return document, 1 if document["failures"] else 0
