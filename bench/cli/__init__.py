"""The command line: one file per family of commands, flags and bodies together.

May import every other room. Start with `app`, which puts the commands together.
"""
