"""The work of one process: a group of cells, from the data to the last evaluation.

`runner` trains, evaluates and saves; `parts` builds data, task and algorithm; `running_cell` keeps
a cell's record and folder. May import `bench.plan` and what lies below. Start with `runner`.
"""
