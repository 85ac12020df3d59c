"""What `python -m bench doctor` looks at, one module per kind of thing."""
