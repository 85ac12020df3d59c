"""The report as one HTML file.

May import every other room of `reports`. Start with `document`.
"""
