"""Results that are passed on without the folders of their cells, and results of others.

A *rows folder* holds `results.parquet` and, where it can, `curves.parquet`, `robustness.parquet`
and `tuning.json`: what a report needs of a results folder, in a few small files. Reading, writing
and shipping such rows belongs here, and so does the form of other programs' files. Torch-free. May
import what `bench.results` may. Start with `result_sets`.
"""
