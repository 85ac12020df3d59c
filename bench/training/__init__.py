"""The work of one process: a group of cells, from the data to the last evaluation.

May import `bench.plan` and what lies below. Start with `runner`: it trains, evaluates and saves.
"""
