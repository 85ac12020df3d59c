"""The race: which method for this recording, within a stated time.

Successive halving over methods; every rung is made of ordinary cells. May import study, plan,
results and meters. Start with `heats`, which runs one; `ladder` says how long the next rung is,
`verdict` what came out.
"""
