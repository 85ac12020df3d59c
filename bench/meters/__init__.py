"""What a run costs: time accounts, memory, the machine, and counts that repeat exactly.

May import nothing else of `bench`. Start with `clock`.
"""
