"""What algorithms are made of: networks, critics, samplers, losses, the optimiser.

May import torch and nothing of the algorithms themselves. Start with `networks`.
"""
