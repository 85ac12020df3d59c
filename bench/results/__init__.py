"""Recorded results: the record of a cell, the columns, the store, and statistics over cells.

The form of every file of a results folder belongs here. It is the only room of `bench` that reports
read, and it loads no torch. May import `bench.errors` and `bench.outside`. Start with `store`;
`record` states what stands in run.json, `columns` who shows it.
"""
