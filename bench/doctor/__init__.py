"""What works here, as one table: one module per kind of thing that is checked.

May import `bench.meters`. Start with `report`.
"""
