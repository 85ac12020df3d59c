"""Ways to run many cells: processes on this machine (local)."""
