"""What `stress` measured: rows of `robustness.parquet`, and their summary over cells.

Reading and checking these rows belongs here; playing belongs to `bench.tracks.robustness`. May
import what `bench.results` may. Start with `rows`.
"""
