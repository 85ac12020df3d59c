"""Layouts of recorded data: others' and one's own read into our recorded form, ours written.

One module per layout (`arrays`, `minari`, `omar`, `omiga`, `madiff`, `vault`), and what they share:
arrays on disk, HDF5, forms of actions. May import `datasets.sources`, `datasets.recorded`,
`datasets.replay`, tasks and environments. Start with `importing`.
"""
