"""One step against many: the densities that `python -m bench toy` left in a results folder."""

from pathlib import Path

import numpy as np

from bench.errors import counted
from reports import captions
from reports.drawing import canvas
from reports.reading.runs import paper_name
from reports.reading.toys import Density, Toy

SECTION = "One step and many"
SIDE = 1.6  # inches of a panel


def draw(toy: Toy | None, folder: Path) -> list[canvas.SavedFigure]:
    """Draw the data's density and each learnt one in a panel of its own."""
    if toy is None:
        return []
    figure, axes = canvas.panels(
        [_title(density) for density in toy.densities], [], height=SIDE, left=0.05, legend="none",
    )  # fmt: skip
    data = toy.densities[0].counts
    most = float((data / data.sum()).max())  # of the data: sharper peaks are cut
    for axis, density in zip(axes, toy.densities, strict=True):
        # The root shows thin bridges between the modes beside the modes themselves.
        axis.imshow(
            np.sqrt(density.counts / density.counts.sum()), origin="lower", cmap="magma_r", vmin=0,
            vmax=most**0.5, extent=(-1, 1, -1, 1), interpolation="nearest",
        )  # fmt: skip
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(visible=False)
        axis.spines[:].set(visible=True, color="0.8")
        distance = f"energy distance {density.energy_distance:.4f}"
        axis.set_xlabel(distance if density.steps else "", labelpad=3)
    caption = captions.brief(
        "A single agent without observations learns four Gaussians in "
        f"{captions.thousands(toy.updates)} updates (seed {toy.seed}), "
        f"{captions.thousands(toy.samples)} samples each, colour by the root of their density",
        left_out="Flow-BC is one network drawn with different numbers of Euler steps; an energy "
        "distance to fresh data of 0 is perfect",
    )
    title = "A toy density in one step and in many"
    return [canvas.save(figure, folder, "toy_densities", SECTION, title, caption, filled=True)]


def _title(density: Density) -> str:
    if not density.steps:
        return density.algorithm  # the data
    return f"{paper_name(density.algorithm)}, {counted(density.steps, 'step')}"
