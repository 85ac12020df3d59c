"""Networks evaluated in numpy, member by member, for losses that tests recompute on their own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
LAYER_NORM_EPSILON = 1e-5


def array(value: Tensor) -> Array:
    """Return a tensor as an array of doubles."""
    return value.detach().cpu().numpy().astype(np.float64)


def evaluated(network: Any, member: int, rows: Array) -> Array:
    """Return the outputs of one member of a ReLU network, (B, outputs), for rows (B, inputs)."""
    pairs = list(zip(network.weights, network.biases, strict=True))
    for index, (weight, bias) in enumerate(pairs):
        rows = rows @ array(weight[member]) + array(bias[member])
        if index < len(pairs) - 1:
            rows = np.maximum(rows, 0.0)
            if network.layer_norm:
                centred = rows - rows.mean(axis=-1, keepdims=True)
                variance = centred.var(axis=-1, keepdims=True)
                rows = centred / np.sqrt(variance + LAYER_NORM_EPSILON)
    return rows


def softmax(values: Array) -> Array:
    """Return exp(v) / sum exp(v) along the first axis."""
    powers = np.exp(values - values.max(axis=0))
    shares: Array = powers / powers.sum(axis=0)
    return shares
