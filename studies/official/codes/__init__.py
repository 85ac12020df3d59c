"""One driver for each official repository.

Each module has a function `train(checkout, data, task) -> Policy` that builds the repository's own
classes, feeds them with the repository's own sampler, and calls their own updates, in the order of
the repository's main script. What is changed is said in the module's docstring, and is done from
outside: the files of a checkout stay as they are.

May import `studies.official.checkout` and `studies.official.recorded`. Start with `omar`.
"""
