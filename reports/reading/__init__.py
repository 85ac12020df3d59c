"""What was run, read from a results folder and sorted into sets that may be compared.

The only room of `reports` that imports `bench`. Start with `results`.
"""
