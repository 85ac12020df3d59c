"""Figures: one module per family, all drawn with what `reports.drawing` provides.

A module decides what a figure shows and says; `catalogue` lists them in the order of the page. May
import `reports.reading`, `reports.captions`, `reports.drawing` and `bench.results`. Start with
`catalogue`.
"""
