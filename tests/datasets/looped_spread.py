"""Spread written from its rules, agent by agent and pair by pair; writes golden trajectories.

python -m tests.datasets.looped_spread datasets/environments/golden
"""

import sys
from pathlib import Path

import numpy as np

EPISODES, STEPS = 2, 25  # every second one is crowded


def looped_step(
    place: np.ndarray, speed: np.ndarray, action: np.ndarray, agents: int
) -> tuple[np.ndarray, np.ndarray, list[float], list[list[float]]]:
    """One step of Spread; positions (2 N, 2), speeds (N, 2), actions (N, 2)."""
    force = 5.0 * action
    for a in range(agents):
        for b in range(a + 1, agents):
            delta = place[a] - place[b]
            distance = np.sqrt(delta @ delta)
            push = 100.0 * 1e-3 * np.logaddexp(0.0, -(distance - 0.3) / 1e-3) * delta / distance
            force[a] += push
            force[b] -= push
    speed = 0.75 * speed + 0.1 * force
    place = place.copy()
    place[:agents] += 0.1 * speed
    marks = [place[agents + mark] for mark in range(agents)]
    shared = 0.0
    for mark in marks:
        shared += min(1.0 / min(np.linalg.norm(place[i] - mark) for i in range(agents)), 10.0)
    rewards, rows = [], looped_rows(place, speed, agents)
    for i in range(agents):
        hits = sum(np.linalg.norm(place[i] - place[j]) < 0.3 for j in range(agents) if j != i)
        rewards.append(shared - 5.0 * hits)
    return place, speed, rewards, rows


def looped_rows(place: np.ndarray, speed: np.ndarray, agents: int) -> list[list[float]]:
    """Return what every agent observes."""
    rows = []
    for i in range(agents):
        row = [*speed[i], *place[i]]
        for mark in range(agents):
            row += list(place[agents + mark] - place[i])
        others = [j for j in range(agents) if j != i]
        for j in others:
            row += list(place[j] - place[i])
        rows.append(row + [0.0] * (2 * len(others)))
    return rows


def record(agents: int) -> dict[str, np.ndarray]:
    """Roll the golden episodes of one team: uniform actions from uniform starts."""
    rng = np.random.default_rng(agents)
    names = (
        "position",
        "velocity",
        "action",
        "reward",
        *(f"observation_{i}" for i in range(agents)),
    )
    made: dict[str, list] = {name: [] for name in names}
    for episode in range(EPISODES):
        place = rng.uniform(-2.0, 2.0, (2 * agents, 2)) * (0.3 if episode % 2 else 1.0)
        speed = np.zeros((agents, 2))
        actions = rng.uniform(-1.0, 1.0, (STEPS, agents, 2))
        places, speeds, rewards = [place], [speed], []
        seen = [looped_rows(place, speed, agents)]
        for action in actions:
            place, speed, reward, rows = looped_step(place, speed, action.copy(), agents)
            places.append(place)
            speeds.append(speed)
            rewards.append(reward)
            seen.append(rows)
        made["position"].append(places)
        made["velocity"].append(speeds)
        made["action"].append(actions)
        made["reward"].append(rewards)
        for i in range(agents):
            made[f"observation_{i}"].append([rows[i] for rows in seen])
    return {name: np.array(values) for name, values in made.items()}


def main(folder: Path) -> None:
    """Write one file per team."""
    for agents in (6, 12):
        np.savez_compressed(folder / f"omar_simple_spread-{agents}.npz", **record(agents))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
