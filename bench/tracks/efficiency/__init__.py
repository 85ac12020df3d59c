"""The efficiency track: what an update and an action cost (`python -m bench measure`).

`request` checks the flags, `rounds` starts one fresh process per algorithm, size and round, `job`
is that process, `document` is the file of raw samples, `medians` and `tables` summarise it.
May import what `bench.tracks` may. Start with `rounds`.
"""
