"""The efficiency track's parts: sizes, the process that measures, reference counts, tables."""
