"""Tables: what they hold (`outcomes`, `efficiency`), and their LaTeX, CSV and Markdown forms.

May import `reports.reading` and `reports.captions`. Start with `model`.
"""
