"""Tables: what they hold, and their LaTeX, CSV and Markdown forms.

May import `reports.reading`, `reports.captions` and `bench.results`. Start with `model`, then
`outcomes`.
"""
