"""Behaviour policies: the online trainer, the policies it produced, and recording with them.

May import tasks and environments. Start with `training`.
"""
