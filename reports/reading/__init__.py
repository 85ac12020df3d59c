"""What was run, read from a results folder and sorted into sets that may be compared.

Which runs are averaged and which numbers count is decided here and nowhere else in `reports`. May
import `bench.results` and the names of `algorithms`. Start with `results`.
"""
