"""Pictures of tasks: particles with matplotlib, robots with MuJoCo's own renderer.

A picture shows one state; animations belong to `bench.rendering`. May import `datasets.errors`;
environments are passed in. Start with `particles`.
"""
