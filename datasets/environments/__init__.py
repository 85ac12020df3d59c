"""Batched environments: every copy advances in lockstep, no automatic reset."""
