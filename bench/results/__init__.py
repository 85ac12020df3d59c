"""Recorded results: the record of a cell, the columns, the store, and statistics over cells.

The only door of `reports`. Loads no torch. May import `bench.meters`. Start with `store`.
"""
