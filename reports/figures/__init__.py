"""Figures: one module per family, all drawn with what `reports.drawing` provides.

May import `reports.reading`, `reports.captions`, `reports.drawing` and `bench.results`. Start with
`catalogue`.
"""
