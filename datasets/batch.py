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
    state: Tensor | None = None  # (R, B, S), where the task has a global state
