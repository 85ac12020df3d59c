"""The tuning track: the same number of trials for every algorithm, on data that no table uses.

`sequence` says which settings are tried, `trials` makes ordinary cells of them, `gathering` reads
what they scored, `choosing` takes the best and writes it as a preset. May import what
`bench.tracks` may. Start with `trials`.
"""

DATA_SEED = 1000  # of recordings for tuning: `run` uses 0, or with paired seeds 0, 1, 2 ...
START_SEED = 30_250_000  # of start states for tuning
TRIALS, UPDATES = 16, 3000
RULESETS = ("fixed", "per-dataset")
