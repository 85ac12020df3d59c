"""What every algorithm must do, as checks that tests and authors of plug-ins run alike.

May import every module of `algorithms`. Start with `suite`, which runs all; `checks` has those that
concern every algorithm, `mathematics` those of losses and targets, `examples` the small data.
"""
