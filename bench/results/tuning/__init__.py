"""What a tuning leaves beside results: its file of trials, and the statistics of a search.

Reading and checking that file belongs here; running trials belongs to `bench.tracks.tuning`. May
import what `bench.results` may. Start with `tuning_file`.
"""
