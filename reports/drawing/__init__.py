"""What all figures share: panels and files, one style per algorithm, one font.

Anything that two families of figures need belongs here. May import `reports.reading`,
`reports.captions` and `bench.results`. Start with `canvas`.
"""
