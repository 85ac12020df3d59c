"""What all figures share: panels and files, one style per algorithm, one font.

May import `reports.reading`, `reports.captions` and `bench.results`. Start with `canvas`.
"""
