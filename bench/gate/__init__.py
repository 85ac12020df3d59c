"""The speed and memory gate: benchmark files, what is accepted, and interleaved measurements.

`bench.regression` judges; `bench.gate.plugin` makes pytest-benchmark write files fit to be judged.
"""
