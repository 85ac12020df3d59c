"""What `stress` measured of a cell, for those who write it and those who read it.

`rows` is the file `robustness.parquet`: a row per perturbation and level, checked when it is read,
since a results folder may come from a stranger. Torch-free. May import what `bench.results` may.
Start with `rows`.
"""
