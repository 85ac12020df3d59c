"""What a learning algorithm receives: member-major batches of recorded transitions."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One mini-batch per member, M = replicas x agents (member = replica * agents + agent).

    All agents of a replica share the sampled transitions. ``terminated`` marks true ends of the
    task; ``timeout`` marks the last step before the time limit, where values still bootstrap.
    Masks are 1 on an agent's true dimensions and 0 on padding.
    """

    observation: Tensor  # (M, B, O)
    action: Tensor  # (M, B, A)
    reward: Tensor  # (M, B)
    next_observation: Tensor  # (M, B, O)
    terminated: Tensor  # (M, B), 1.0 or 0.0
    timeout: Tensor  # (M, B), 1.0 or 0.0
    observation_mask: Tensor  # (M, 1, O)
    action_mask: Tensor  # (M, 1, A)
    state: Tensor | None = None  # (R, B, S), where the data hold a global state
    next_action: Tensor | None = None  # (M, B, A), recorded after this one, if it was asked for
    followed: Tensor | None = None  # (M, B), 1.0 where there is one; elsewhere it is zero


class SequenceBatch(NamedTuple):
    """Windows of T = history + horizon steps, for methods that model trajectories.

    The present step lies at place ``history`` of a window and is always recorded. A window never
    leaves its episode: before its first step the first row is repeated, after its end the last
    observation (of an episode of L steps there are L + 1) and the last action, with reward and
    return-to-go 0. All agents of a replica share the windows.
    """

    observation: Tensor  # (M, B, T, O)
    action: Tensor  # (M, B, T, A)
    reward: Tensor  # (M, B, T), each agent's own
    return_to_go: Tensor  # (M, B, T): discounted sum of own rewards to the episode's end
    returns: Tensor  # (M, B): return_to_go at the present step, what plans are conditioned on
    mask: Tensor  # (M, B, T), 1.0 where a step was recorded: its action, reward, next observation
    observed: Tensor  # (M, B, T), 1.0 where the observation was recorded: mask, and the last one
    observation_mask: Tensor  # (M, 1, O), 1 on true dimensions
    action_mask: Tensor  # (M, 1, A)
