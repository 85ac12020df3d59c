"""The report as one HTML file, without network: leaderboard, figures, tables, runs, data.

What the page shows is gathered here; how it looks stands in `templates`. May import every other
room of `reports`. Start with `document`.
"""
