"""What is to be run: configuration, presets, plug-ins, and the cells that follow from them.

Nothing here trains, and nothing loads torch. `config` states the flags of a run, `resolve` builds
settings, `grid` makes cells, `estimate` and `groups` say how long they take and which train
together. May import `bench.results` and what lies below. Start with `grid`.
"""
