"""What kind of team recorded a dataset, as far as its data show: roles, and how predictable it is.

Where agents share one policy, who does what may be settled anew in every episode; where each has
its own, roles are fixed. Methods that treat agents independently can follow the second only.
"""

from collections import Counter
from typing import Any

import numpy as np

from datasets.recorded.episodes import Episodes, sample, spaced

SHOWN = 6  # assignments listed on a card, the commonest first
SPREAD = "mpe/spread"
EPISODES = 20_000  # whose ends are looked at

STEPS = 100_000  # of the set that the cloned networks see, every fifth episode to test them
FEWEST = 20_000  # steps below which nothing is cloned: the error would be that of the sample
HELD_OUT = 5
UPDATES, BATCH, HIDDEN, RATE = 2_000, 256, 128, 3e-3


def measure(dataset: Episodes) -> dict[str, Any]:
    """Return what a card says of the team: ``roles`` and ``cloning``, None where not measured."""
    return {"roles": roles(dataset), "cloning": cloning(dataset)}


def roles(dataset: Episodes) -> dict[str, Any] | None:
    """Return who ends where in episodes of spread; None for other tasks and observations.

    An episode's assignment is the one-to-one assignment of agents to landmarks with the least
    summed distance in the last observation. ``assignments`` lists the commonest with their shares
    of the episodes; ``kept`` has for each agent the share of episodes in which it ends on the
    landmark on which it ends most often. At most :data:`EPISODES` are looked at, evenly spaced.
    """
    agents, width = dataset.observation.shape[1:]
    if not dataset.recorded_card["task"].startswith(SPREAD) or width != 6 * agents:
        return None
    from scipy.optimize import linear_sum_assignment

    kept = dataset.episodes
    kept = kept[spaced(len(kept), min(len(kept), EPISODES))]
    lengths = np.asarray(dataset.episode_length, dtype=np.int64)
    last = np.cumsum(lengths + 1)[kept] - 1  # each episode's closing row
    ends = dataset.gather(dataset.observation, last).astype(np.float64)
    relative = ends[:, :, 4 : 4 + 2 * agents]
    distance = np.linalg.norm(relative.reshape(len(last), agents, agents, 2), axis=-1)
    chosen = np.stack([linear_sum_assignment(one)[1] for one in distance])  # (episodes, N)
    counted = Counter(map(tuple, chosen.tolist()))
    return {
        "episodes": len(chosen),
        "assignments": [
            {"landmarks": list(landmarks), "share": count / len(chosen)}
            for landmarks, count in sorted(counted.items(), key=lambda one: (-one[1], one[0]))
        ][:SHOWN],
        "different": len(counted),
        "kept": [
            float(np.bincount(chosen[:, agent]).max() / len(chosen)) for agent in range(agents)
        ],
    }


def cloning(dataset: Episodes) -> dict[str, Any] | None:
    """Return how well networks predict each agent's action from its own observation alone.

    One network per agent is cloned on the sample of :data:`STEPS` steps; ``error`` is the root
    mean squared error on episodes that it has not seen, per agent, in units of the action. It
    cannot fall below the noise with which the team acted, and is the larger the harder the team's
    policy is to learn with :data:`UPDATES` updates. ``spread`` is the deviation of the actions,
    what a constant prediction would err by. None for sets of too few steps.
    """
    index = sample(dataset, STEPS)
    if len(index) < FEWEST:
        return None
    import torch

    episode = np.searchsorted(dataset.episode_start, index, "right") - 1
    held = np.unique(episode, return_inverse=True)[1] % HELD_OUT == 0
    observation = dataset.gather(dataset.observation, index + episode).transpose(1, 0, 2)
    centre, scale = observation.mean(1, keepdims=True), observation.std(1, keepdims=True)
    seen = torch.as_tensor((observation - centre) / np.maximum(scale, 1e-3))
    done = torch.as_tensor(dataset.gather(dataset.action, index).transpose(1, 0, 2).copy())
    sizes = torch.as_tensor(dataset.recorded_card["action_sizes"])
    mask = (torch.arange(done.shape[2]) < sizes[:, None]).float()[:, None]  # (N, 1, A)
    test = torch.as_tensor(held)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, whatever the machine is doing
    try:
        network = _clone(seen[:, ~test], done[:, ~test], mask)
        with torch.no_grad():
            off = (torch.tanh(network(seen[:, test])) - done[:, test]).square() * mask
    finally:
        torch.set_num_threads(threads)
    varied = done[:, test].var(dim=1, correction=0) * mask[:, 0]
    return {
        "error": (off.mean(1).sum(1) / sizes).sqrt().tolist(),
        "spread": (varied.sum(1) / sizes).sqrt().tolist(),
        "steps": len(index),
        "updates": UPDATES,
    }


def _clone(seen: Any, done: Any, mask: Any) -> Any:
    """Return networks (N members) trained to predict ``done`` (N, T, A) from ``seen`` (N, T, O)."""
    import torch

    from algorithms.parts.networks import MemberMLP

    generator = torch.Generator().manual_seed(0)
    sizes = (seen.shape[2], HIDDEN, HIDDEN, done.shape[2])
    network = MemberMLP([generator], len(seen), sizes, "relu", output_mask=mask)
    network.flatten()
    optimiser = torch.optim.Adam([network.flat], lr=RATE, fused=True)
    parameters = list(network.parameters())
    for update in range(UPDATES):
        optimiser.param_groups[0]["lr"] = RATE * (1.0 - update / UPDATES)
        rows = torch.randint(seen.shape[1], (BATCH,), generator=generator)
        off = torch.tanh(network(seen[:, rows])) - done[:, rows]
        slopes = torch.autograd.grad((off * mask).square().mean((1, 2)).sum(), parameters)
        for place, gradient in zip(network.gradients, slopes, strict=True):
            place.copy_(gradient)
        optimiser.step()
    return network
