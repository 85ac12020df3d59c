"""`python -m bench diagnose` and `toy`: look into trained policies and toy problems.

`opened` opens a cell with transitions of its data; `critics` and `actions` measure its critic and
its policy; `release` shows the defects of the OM2P release on the toy problem `two_modes`; `toy`
learns a density in one step and in many. May import `bench.policies` and what lies below. Start
with `critics`.
"""
