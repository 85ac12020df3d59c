"""Which runs a report is made of: one's own, those of others beside them, and a choice of both.

What is read from a folder or a table, what is left out and why, is decided here. May import what
`reports.reading` may. Start with `selection`.
"""
