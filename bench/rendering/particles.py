"""Draw an episode of a particle task."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.rendering.episode import Episode
from datasets.drawing.particles import Canvas, reach

BETWEEN = 2  # frames drawn per step: positions in between are interpolated
TRAIL = 8  # steps of an agent's path that stay visible


def frames(env: Any, episode: Episode) -> Iterator[tuple[np.ndarray, float]]:
    """Yield frames (SIZE, SIZE, 3) with the step that each shows."""
    position = episode.states["position"].astype(float)  # (steps + 1, entities, 2)
    agents = env.scenario.num_agents
    canvas = Canvas(env.scenario, reach(env.scenario, position))
    for frame in range(episode.steps * BETWEEN + 1):
        time = frame / BETWEEN
        before, share = int(time), time - int(time)
        now = position[before]
        if share:
            now = (1 - share) * now + share * position[before + 1]
        path = np.concatenate(
            [position[max(0, before - TRAIL) : before + 1, :agents], now[None, :agents]]
        )
        yield canvas.draw(now, path), time
