"""Published dataset layouts, read into our recorded form and written from it.

One module per layout (`omar`, `omiga`, `madiff`, `vault`), and what they share: sources, archives,
the Hugging Face hub, forms of actions. May import `datasets.recorded`, `datasets.replay`, tasks and
environments. Start with `importing`.
"""
