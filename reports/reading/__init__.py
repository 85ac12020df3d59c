"""What was run, read from a results folder and sorted into sets that may be compared.

May import `bench.results`, and nothing else of ours. Start with `results`.
"""
