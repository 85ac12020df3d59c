"""Pictures of tasks: particles with matplotlib, robots with MuJoCo's own renderer.

May import `datasets.errors`; environments are handed in. Start with `particles`.
"""
