"""`python -m bench doctor`: check what works on this machine, one row per check.

One module per kind of check: `system`, `environments`, `data`. May import `bench.meters`,
`algorithms` and `datasets`. Start with `report`, which lists the checks and prints the table.
"""
