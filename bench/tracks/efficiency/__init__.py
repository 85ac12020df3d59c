"""The efficiency track: what an update and an action cost, in fresh processes, in turn.

May import `bench.launchers` and what lies below. Start with `rounds`.
"""
