"""A learnt team outside the harness: loaded from a checkpoint, or exported as an ONNX file.

May import `bench.training` and what lies below. Start with `checkpointed`.
"""
