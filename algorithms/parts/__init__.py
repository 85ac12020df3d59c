"""What algorithms are made of: networks, critics, samplers, losses, the optimiser.

May import torch, `settings` and `kernels`, and nothing of the algorithms themselves. Start with
`networks`; `critics` and `samplers` come next.
"""
