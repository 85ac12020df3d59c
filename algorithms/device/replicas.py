"""Split the state of seeds trained together into the states of single seeds, and join them.

A seed trained with others ends in the same numbers as alone. Its share of the joint state is
therefore its state alone, and a checkpoint does not depend on who trained with it.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from algorithms.base import Algorithm
from algorithms.parts.networks import MemberNetwork

State = dict[str, Any]
EXTRA = "_extra_state"


def split(algorithm: Algorithm, state: State) -> list[State]:
    """Return the state of every replica as if it had been trained alone."""
    count = algorithm.num_replicas
    if count == 1:
        return [state]
    alone = _alone(algorithm).state_dict()
    optimiser, rest = _parted(state)
    parts = [_share(rest, alone, replica, count) for replica in range(count)]
    for replica, part in enumerate(parts):
        part[EXTRA] = {**part[EXTRA], "optimiser": _split_optimiser(algorithm, optimiser, replica)}
    return parts


def join(algorithm: Algorithm, states: Sequence[State]) -> State:
    """Return the joint state of replicas, given the state of each as if trained alone."""
    if len(states) == 1:
        return states[0]
    parted = [_parted(state) for state in states]
    joint: State = _joined([rest for _, rest in parted], algorithm.state_dict())
    optimisers = [optimiser for optimiser, _ in parted]
    joint[EXTRA] = {**joint[EXTRA], "optimiser": _join_optimisers(algorithm, optimisers)}
    return joint


def _alone(algorithm: Algorithm) -> Algorithm:
    """Return the same algorithm for one replica: the shapes of its state show what is stacked."""
    kind = type(algorithm)
    return kind(algorithm.spec.of(0), algorithm.settings, algorithm.seeds[:1]).to_device("cpu")


def _parted(state: State) -> tuple[State, State]:
    """Return the optimiser's state, and the rest."""
    extra = dict(state[EXTRA])
    optimiser = extra.pop("optimiser")
    return optimiser, {**state, EXTRA: extra}


def _share(value: Any, alone: Any, replica: int, count: int) -> Any:
    """Return a replica's share of a tree of tensors, lists and dictionaries."""
    if isinstance(value, Tensor):
        if value.shape == alone.shape:
            return value.clone()
        rows = len(alone)
        return value[replica * rows : (replica + 1) * rows].clone()
    if isinstance(value, dict):
        return {key: _share(item, alone[key], replica, count) for key, item in value.items()}
    if isinstance(value, list):
        rows = len(alone)
        if len(value) == rows * count:
            return copy.deepcopy(value[replica * rows : (replica + 1) * rows])
    return copy.deepcopy(value)


def _joined(values: list[Any], joint: Any) -> Any:
    """Return shares put together where the joint tree is larger than one of them."""
    first = values[0]
    if isinstance(first, Tensor):
        return first if first.shape == joint.shape else torch.cat(values)
    if isinstance(first, dict):
        return {key: _joined([value[key] for value in values], joint[key]) for key in first}
    if isinstance(first, list) and len(joint) != len(first):
        return [item for value in values for item in value]
    return first


# The optimiser knows flat buffers only, in which every parameter has its members' rows together.


def _split_optimiser(algorithm: Algorithm, optimiser: State, replica: int) -> State:
    state = {}
    for index, network in enumerate(algorithm.trained_networks()):
        places = network.shares(algorithm.num_replicas)[replica]
        state[index] = {
            name: torch.cat([value[place] for place in places])
            if _is_flat(value, network)
            else copy.deepcopy(value)
            for name, value in optimiser["state"].get(index, {}).items()
        }
    return {**optimiser, "state": {index: kept for index, kept in state.items() if kept}}


def _join_optimisers(algorithm: Algorithm, optimisers: list[State]) -> State:
    state: dict[int, dict[str, Any]] = {}
    for index, network in enumerate(algorithm.trained_networks()):
        places = network.shares(algorithm.num_replicas)
        for name, first in optimisers[0]["state"].get(index, {}).items():
            # A copy: the optimiser would keep, and count up, the tensor it is given.
            state.setdefault(index, {})[name] = copy.deepcopy(first)
            if not isinstance(first, Tensor) or first.dim() == 0:
                continue
            flat = torch.zeros_like(network.flat, requires_grad=False)
            for share, optimiser in zip(places, optimisers, strict=True):
                pieces = optimiser["state"][index][name].split([p.stop - p.start for p in share])
                for place, piece in zip(share, pieces, strict=True):
                    flat[place] = piece
            state[index][name] = flat
    return {**optimisers[0], "state": state}


def _is_flat(value: Any, network: MemberNetwork) -> bool:
    return isinstance(value, Tensor) and value.shape == network.flat.shape
