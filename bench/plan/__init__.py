"""What is to be run: configuration, presets, plug-ins, and the cells that follow from them.

Loads no torch. May import `bench.results` and what lies below. Start with `grid`.
"""
