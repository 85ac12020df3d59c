"""Running many cells: a whole study, its display and its trackers.

May import `bench.launchers` and what lies below. Start with `study`.
"""
