"""The page of results that is published: questions in a fixed order, as Markdown and as one file.

`python -m bench report --site docs/results` writes it from a results folder or from rows; every
sentence comes from the rows or names the command that would measure it. May import all of
`reports`, `bench.results` and `bench.errors`. Start with `publish`.
"""
