"""Ways to run many cells: processes on this machine (local), tasks of a cluster (ray)."""
