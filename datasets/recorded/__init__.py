"""Recorded data: arrays in files beside a card that describes them, and samplers that draw batches.

Everything between a recording and a batch belongs here: `writer` and `files` store, `episodes` and
`store` open, `card` and `summary` describe, `checks` refuse damage, `sampler` and `sequences` draw
transitions and windows, `placement` decides where arrays lie. May import `datasets.batch`,
`datasets.errors`, `datasets.paths` and `datasets.tasks`. Start with `store`.
"""
