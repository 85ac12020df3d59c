"""What `stress` measured: rows of `robustness.parquet`, and what they sum up to over cells."""
