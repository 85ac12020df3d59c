"""The recorded form of a dataset: files beside a card, and the samplers that draw from them.

May import `datasets.batch` and `datasets.errors`. Start with `store`.
"""
