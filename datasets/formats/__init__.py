"""Published dataset layouts, read into our recorded form and written from it.

May import `datasets.recorded` and tasks. Start with `importing`.
"""
