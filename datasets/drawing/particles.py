"""Draw particle tasks with matplotlib, from positions alone."""

import dataclasses
from typing import Any

import numpy as np

SIZE = 420  # pixels of a side
SMALLEST, MARGIN = 1.25, 0.25  # half-width of the view, and room around the outermost agent
GROUND, GRID, EDGE, INK = "#F7F5F0", "#E6E2D8", "#C9C3B4", "#3A3A3A"
TEAM = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
HUNTER, PREY = "#C8352B", "#1B9E5A"
STONE, FOOD, FOREST, MARK = "#8C8C8C", "#F0B400", "#5FA463", "#6B6B6B"


@dataclasses.dataclass(frozen=True)
class Look:
    """The appearance of an entity."""

    colour: str
    alpha: float = 1.0
    ring: bool = False  # a landmark to be covered: a ring with a dot
    layer: int = 3


def looks(scenario: Any) -> list[Look]:
    """Return the appearance of every entity, agents first."""
    agents, landmarks = scenario.num_agents, len(scenario.entities) - scenario.num_agents
    if scenario.kind == "spread":
        team = [Look(TEAM[i % len(TEAM)], 0.9, layer=4) for i in range(agents)]
        return team + [Look(MARK, ring=True, layer=5)] * landmarks
    hunt = [Look(HUNTER, layer=4)] * (agents - 1) + [Look(PREY, layer=5)]
    if scenario.kind == "tag":
        return hunt + [Look(STONE)] * landmarks
    return hunt + [Look(STONE)] + [Look(FOOD)] * 2 + [Look(FOREST, 0.35, layer=6)] * 2


def reach(scenario: Any, position: np.ndarray) -> float:
    """Return the half-width of a view that contains all of ``position`` (..., entities, 2)."""
    sizes = [entity.size for entity in scenario.entities]
    outermost = np.abs(position).reshape(-1, len(sizes), 2).max(axis=(0, 2)) + np.array(sizes)
    return max(SMALLEST, float(outermost.max()) + MARGIN / 2)


class Canvas:
    """One figure whose discs move from frame to frame; it shows the square of ``reach``."""

    def __init__(self, scenario: Any, reach: float) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        kinds, agents = looks(scenario), scenario.num_agents
        sizes = [entity.size for entity in scenario.entities]
        self.reach, self._home = reach, scenario.entities[0].start

        figure = Figure(figsize=(SIZE / 100, SIZE / 100), dpi=100)
        self._canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
        axes.set_axis_off()
        self._draw_ground(axes)
        self._agents, self._sizes = agents, np.array(sizes)
        self._trails = [self._add_trail(axes, kinds[i], sizes[i]) for i in range(agents)]
        self._discs = [self._add(axes, kind, size) for kind, size in zip(kinds, sizes, strict=True)]

    def _draw_ground(self, axes: Any) -> None:
        from matplotlib.patches import Rectangle

        reach, home = self.reach, self._home
        corner, side = (-reach, -reach), 2 * reach
        axes.add_patch(Rectangle(corner, side, side, color=GROUND, zorder=0))
        lines = np.arange(-np.floor(reach * 2) / 2, reach, 0.5)
        axes.vlines(lines, -reach, reach, color=GRID, linewidth=0.8, zorder=1)
        axes.hlines(lines, -reach, reach, color=GRID, linewidth=0.8, zorder=1)
        # The square in which agents start.
        square = Rectangle((-home, -home), 2 * home, 2 * home, fill=False, color=EDGE, lw=1.2)
        axes.add_patch(square)

    def _add_trail(self, axes: Any, kind: Look, size: float) -> Any:
        from matplotlib.collections import LineCollection

        trail = LineCollection([], colors=kind.colour, linewidths=2.6, zorder=2, capstyle="round")
        axes.add_collection(trail)
        return trail

    def _add(self, axes: Any, kind: Look, size: float) -> Any:
        from matplotlib.patches import Circle

        if kind.ring:
            disc = Circle((0, 0), size * 1.5, fill=False, edgecolor=INK, lw=2.0, zorder=kind.layer)
        else:
            disc = Circle(
                (0, 0), size, facecolor=kind.colour, edgecolor="white", lw=1.2, alpha=kind.alpha,
                zorder=kind.layer,
            )  # fmt: skip
        axes.add_patch(disc)
        return disc

    def draw(self, position: np.ndarray, path: np.ndarray | None = None) -> np.ndarray:
        """Return the frame of entities at ``position``, with the agents' trails along ``path``."""
        if path is None:  # a trail of no length
            path = np.repeat(position[None, : self._agents], 2, axis=0)
        touching = self._touching(position)
        for index, disc in enumerate(self._discs):
            disc.set_center(position[index])
            if index < self._agents:
                disc.set_edgecolor(INK if touching[index] else "white")
                disc.set_linewidth(2.4 if touching[index] else 1.2)
        fade = np.linspace(0.1, 0.7, len(path) - 1)
        for index, trail in enumerate(self._trails):
            points = path[:, index]
            trail.set_segments(np.stack([points[:-1], points[1:]], axis=1))
            trail.set_alpha(fade)
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _touching(self, position: np.ndarray) -> np.ndarray:
        """Return which agents overlap another agent; they get a dark outline."""
        agents, sizes = position[: self._agents], self._sizes[: self._agents]
        distance = np.linalg.norm(agents[:, None] - agents[None], axis=-1)
        near = distance < sizes[:, None] + sizes[None]
        np.fill_diagonal(near, False)
        return near.any(axis=1)


class Painter:
    """Draws a particle environment's first copy as it is; the view widens where agents leave it."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._canvas: Canvas | None = None

    def draw(self) -> np.ndarray:
        """Return a frame (SIZE, SIZE, 3) uint8."""
        scenario = self._env.scenario
        position = self._env.get_state()["position"][0].cpu().double().numpy()
        # Rounded up to a half, so that the view changes rarely.
        needed = np.ceil(2 * reach(scenario, position)) / 2
        if self._canvas is None or self._canvas.reach != needed:
            self._canvas = Canvas(scenario, needed)
        return self._canvas.draw(position)

    def close(self) -> None:
        """Free the figure."""
        self._canvas = None
