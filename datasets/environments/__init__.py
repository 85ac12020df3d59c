"""Batched environments: all copies advance in lockstep, and none is reset by itself.

Rules of motion, rewards and observations belong here; what a team has to do is a task. `mpe` and
`mujoco` are the two simulators, `mpe_scenarios`, `mpe2_scenarios` and `mujoco_teams` the rules of
their tasks, `prey` the frozen prey. May import `datasets.actors`, `datasets.drawing`,
`datasets.errors` and `datasets.paths`. Start with `base`, then `mpe`.
"""
