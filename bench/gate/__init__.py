"""The speed and memory gate: benchmark files, what is accepted, and interleaved measurements.

`regression` compares two files; `plugin` makes pytest-benchmark write files fit to be compared.
May import `bench.results` and `bench.meters`. Start with `regression`.
"""
