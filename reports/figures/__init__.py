"""Figures: one module per family, all drawn on `canvas` in one style.

May import `reports.reading` and `reports.captions`. Start with `catalogue`.
"""
