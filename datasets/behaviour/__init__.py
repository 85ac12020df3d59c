"""Behaviour policies: the trainer (MATD3), the trained policies, and recording data with them.

Shipped policies lie in `policies`, and `recipes.toml` says how each was trained. May import tasks,
environments, `datasets.rollout`, `datasets.recorded` and the member networks of
`algorithms.parts`. Start with `training`; `recording` plays the policies.
"""
