"""Ways to run many cells: processes on this machine, tasks of a Ray cluster, Slurm jobs.

A launcher starts processes and collects their ends; what a process does is `bench.training`. May
import `bench.training` and what lies below. Start with `local`; `base` has what all share.
"""
