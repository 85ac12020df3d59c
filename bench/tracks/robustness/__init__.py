"""The robustness track: plays finished cells under perturbations (`python -m bench stress`).

`stress_plan` says what is missing and what it costs, `stressed_cell` plays one cell, `attackable`
lets attacks differentiate its team, `stress_run` does several side by side. Nothing is trained.
May import what `bench.tracks` may. Start with `stressed_cell`.
"""
