"""Tracks: what the benchmark measures besides the scores of a study, one folder per track.

`efficiency` measures the time and memory of updates and actions, `robustness` what perturbations
cost a trained team, `tuning` tries settings. May import `bench.study` and what lies below it, and
no other track. Start with `efficiency.rounds` or `robustness.stress_run`.
"""
