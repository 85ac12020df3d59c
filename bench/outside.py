"""Names for mappings that are open on purpose, because their keys are not ours to state.

What one part of the harness hands to another has a type that names its fields: a dataclass, or a
TypedDict where it travels as plain values. Open are only what enters from outside and what leaves
for it. Each kind of these has one name here, which says where it comes from and what checks it;
`tests/test_architecture.py` refuses the bare type elsewhere. Imports nothing of ours.
"""

from typing import Any

# An object of JSON: what a file holds that anybody may have written, or what is about to be written
# into one. The reader of a kind of file checks it: `bench.results.store`, `bench.gate.files` ...
Json = dict[str, Any]

# A table of TOML, as it was read or is to be written: a preset, a study file, published values. Its
# reader refuses unknown keys; values are checked where they become settings or flags.
TomlTable = dict[str, Any]

# Settings by name, as plain values: of an algorithm, whose keys are the fields of its own settings
# class, which may be a plug-in's. `bench.plan.resolve` checks names, types and ranges.
Settings = dict[str, Any]

# What users change, by NAME.KEY: `--set`, `[set]` and `[sweep]` of a study file, the argument
# `overrides` in Python. `bench.plan.resolve` checks it.
Overrides = dict[str, Any]

# Values of flags by the names of their fields, as typed or as a study file gives them. Which flags
# there are is stated by `RunConfig` and by the signatures of commands; `RunConfig` checks values.
Flags = dict[str, Any]

# The identity of a dataset, which `datasets.recipe` states; its keys depend on the kind of data.
Recipe = dict[str, Any]

# The card of a dataset, as `datasets` wrote it beside the arrays: a version of long ago or an
# import may lack any key.
Card = dict[str, Any]

# A row of a table of results, by column: what becomes a row of a DataFrame, or comes from one.
# `bench.results.columns` states the columns; a value may be None.
TableRow = dict[str, Any]

# What `state_dict()` of a module, an algorithm or a sampler holds; the keys are its own.
StateDict = dict[str, Any]

# Keyword arguments that are passed on to a library whose names they bear: torch, Ray, matplotlib.
Arguments = dict[str, Any]
