"""What a tuning leaves beside results: its file of trials, and the statistics of a search."""
