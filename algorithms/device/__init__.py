"""Running an algorithm on a device: CUDA graphs, replicas, counting and watching operations.

May import `algorithms.base` and `algorithms.parts`. Start with `replicas`.
"""
