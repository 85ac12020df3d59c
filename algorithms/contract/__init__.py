"""What every algorithm must do, as checks that tests and authors of plug-ins run alike.

May import every module of `algorithms`. Start with `suite`.
"""
