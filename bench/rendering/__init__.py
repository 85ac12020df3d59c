"""Animations: play one episode of a team and write it as a GIF (`python -m bench render`).

`actors` builds the team, `episode` plays it, `particles` and `mujoco_scene` draw the frames,
`animation` writes the file. May import `bench.policies` and what lies below. Start with `render`.
"""
