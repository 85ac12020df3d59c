"""The regression gate: compare the speed and the exact costs of two versions of the code.

`plugin` extends the files of pytest-benchmark, `files` reads them, `interleave` measures two trees
in turn, `regression` compares two sets of files, `text` prints the result, and `accepted` keeps
deliberate changes. May import `bench.results` and `bench.meters`. Start with `regression`.
"""
