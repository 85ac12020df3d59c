"""Batched environments: every copy advances in lockstep, no automatic reset.

May import `datasets.errors`. Start with `base`, then `mpe` or `mujoco`.
"""
