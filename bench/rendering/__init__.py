"""A team at work, as a GIF: particles drawn from their state, bodies rendered by MuJoCo.

May import `bench.policies` and what lies below. Start with `render`.
"""
