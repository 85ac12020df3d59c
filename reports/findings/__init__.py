"""What results say beyond one dataset: rankings with ties, where a method stands, claims tested.

Every sentence and number here follows from rows by a rule that the code states; nothing is worded
by hand for one set of results. May import `reports.reading` and `bench.results`. Start with
`ranking`.
"""
