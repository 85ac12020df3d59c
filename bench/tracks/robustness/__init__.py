"""The robustness track: plays finished cells under perturbations, without training.

`stress_plan` chooses cells and perturbations, `stress_run` plays them, `stressed_cell` opens one
cell, `attackable` finds the worst change of an observation. May import what `bench.tracks` may, and
`datasets.perturb`. Start with `stress_run`.
"""
