"""Behaviour policies: the online trainer and the policies it produced."""
