"""Member networks computed by a small C library: torch's mathematics, rounded differently.

`members.c` holds the mathematics. `compiler` builds it, `library` loads it, `evaluation` makes it
an operation of autograd, and `choice` says whether a process takes it. Torch's operations stay the
definition, and serve wherever the library cannot. May import torch and nothing else of ours. Start
with `choice`.
"""
