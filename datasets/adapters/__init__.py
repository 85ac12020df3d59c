"""Tasks and PettingZoo: our tasks as PettingZoo environments, and such environments as tasks.

A new interface to other packages' environments belongs here. May import tasks, environments,
`datasets.drawing` and `datasets.plugin_source`. Start with `team_env`; `parallel` goes the other
way.
"""
