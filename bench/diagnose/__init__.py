"""Looks into learnt policies and what they were trained on.

May import `bench.policies` and what lies below.
"""
