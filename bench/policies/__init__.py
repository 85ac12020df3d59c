"""A trained team as a policy: loaded from a checkpoint, or exported as an ONNX file.

`team` is the common interface (observations in, actions out), `checkpointed` loads a cell with
torch, `onnx_export` writes a file, `onnx_policy` runs it without torch. May import
`bench.training` and what lies below. Start with `team`.
"""
