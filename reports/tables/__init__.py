"""Tables: what they hold, and their LaTeX, CSV and Markdown forms.

`outcomes`, `efficiency` and `published` fill the tables that `model` defines; `latex` and `text`
write them. May import `reports.reading`, `reports.captions` and `bench.results`. Start with
`model`, then `outcomes`.
"""
