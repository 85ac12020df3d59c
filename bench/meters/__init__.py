"""Meters of a run: time accounts, memory, energy, the machine, and counts that repeat exactly.

A meter reads; it does not judge or compare. What it has read is a section of a record. May import
`bench.results.record`, which has the sections. Start with `clock` (time accounts), `memory` (peaks)
and `counts` (parameters, FLOPs, tensor bytes).
"""
