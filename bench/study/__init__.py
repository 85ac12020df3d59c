"""Running many cells: a whole study, what it shows, and its callbacks and trackers.

`resume` says which cells have to run, `schedule` in which groups, `callbacks` passes on what
happens, `summary` prints the table at the end. May import `bench.launchers` and what lies below.
Start with `study`.
"""
