"""One step against many: the densities that `python -m bench toy` left in a results folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from reports import captions
from reports.figures import canvas

NAME = "toy.json"
SIZE_LIMIT = 4 * 2**20  # bytes
MOST_BINS, MOST_ROWS = 200, 12
SECTION = "One step and many"
SIDE = 1.6  # inches of a panel


def read(out: Path, warnings: list[str]) -> dict[str, Any] | None:
    """Return a results folder's toy, None where there is none; what is no toy is a warning."""
    path = out / NAME
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise ValueError("it is too large")
        return _checked(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.append(f"skipped {NAME}: it is not what `python -m bench toy` writes ({told})")
        return None


def _checked(content: Any) -> dict[str, Any]:
    """Return the parts of a toy that are drawn; ValueError or KeyError for anything else."""
    if not isinstance(content, dict) or content.get("kind") != "toy":
        raise ValueError("it is of another kind")
    rows = []
    for row in content["rows"][:MOST_ROWS]:
        counts = np.array(row["counts"], dtype=float)
        sides = counts.shape
        if len(sides) != 2 or sides[0] != sides[1] or not 1 < sides[0] <= MOST_BINS:
            raise ValueError("its counts form no square")
        if not np.isfinite(counts).all() or (counts < 0).any() or counts.sum() == 0:
            raise ValueError("its counts are no counts")
        name, steps = str(row["algorithm"]), int(row["steps"])
        rows.append((name, steps, float(row["energy_distance"]), counts))
    if not rows:
        raise ValueError("it has no rows")
    whole = {key: int(content[key]) for key in ("updates", "seed", "samples")}
    return {**whole, "rows": rows}


def draw(toy: dict[str, Any] | None, folder: Path) -> list[canvas.Plate]:
    """Draw the data's density and each learnt one in a panel of its own."""
    if toy is None:
        return []
    rows = toy["rows"]
    figure, axes = canvas.panels(
        [_title(name, steps) for name, steps, _, _ in rows], [], height=SIDE, left=0.05,
        legend="none",
    )  # fmt: skip
    most = float((rows[0][3] / rows[0][3].sum()).max())  # of the data: sharper peaks are cut
    for axis, (_, steps, distance, counts) in zip(axes, rows, strict=True):
        # The root shows thin bridges between the modes beside the modes themselves.
        axis.imshow(
            np.sqrt(counts / counts.sum()), origin="lower", cmap="magma_r", vmin=0,
            vmax=most**0.5, extent=(-1, 1, -1, 1), interpolation="nearest",
        )  # fmt: skip
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(visible=False)
        axis.spines[:].set(visible=True, color="0.8")
        axis.set_xlabel(f"energy distance {distance:.4f}" if steps else "", labelpad=3)
    caption = captions.sentence(
        "One step against many on a toy: a single agent without observations learns four "
        f"Gaussians in {captions.thousands(toy['updates'])} updates (seed {toy['seed']})",
        f"{captions.thousands(toy['samples'])} samples each, colour by the root of their density; "
        "flow-bc is one network drawn with different numbers of Euler steps",
        "Energy distance to fresh data: 0 is perfect",
        "One seed: no interval",
    )
    title = "A toy density in one step and in many"
    return [canvas.save(figure, folder, "toy_densities", SECTION, title, caption)]


def _title(name: str, steps: int) -> str:
    return name if not steps else f"{name}, {steps} step{'s' if steps > 1 else ''}"
