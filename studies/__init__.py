"""Studies beside the package: programs that compare it with others. None is installed."""
