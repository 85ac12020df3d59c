"""Meters of a run: time accounts, memory, energy, the machine, and counts that repeat exactly.

A meter reads; it does not judge or compare. May import nothing else of `bench`. Start with `clock`
(time accounts), `memory` (peaks) and `counts` (parameters, FLOPs, tensor bytes).
"""
