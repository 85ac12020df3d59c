"""Running an algorithm on a device: CUDA graphs, replicas, counting and watching operations.

Nothing here changes the mathematics. May import `algorithms.base` and `algorithms.parts`. Start
with `replicas`; `graphs` records updates, `acting` traces actions for export.
"""
