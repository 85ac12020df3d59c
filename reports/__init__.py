"""Reports: figures, LaTeX tables and one HTML page from a results folder, without torch.

What is shown of a results folder, and how, belongs here; statistics belong to `bench.results`. May
import `bench.results`, `bench.errors` and the names of `algorithms`. Start with `build`.

reports.write(Path("results"), Path("reports/out"))
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.build import Written
    from reports.site.publish import Published

OM2P_BENCH = "om2p-bench"


def write(out: Path, to: Path, **options: Any) -> "Written":
    """Write the report of the results folder `out` into the folder `to` (see `reports.build`)."""
    from reports import build

    return build.write(Path(out), Path(to), **options)


def publish(out: Path, to: Path, **options: Any) -> "Published":
    """Write the published page of the results `out` into `to` (see `reports.site.publish`)."""
    from reports.site import publish as site

    return site.publish(Path(out), Path(to), **options)
