"""Official codes beside ours: the same data, sizes, learning rate and number of updates.

    python -m studies.official official PAIR --code CHECKOUT --data EXPORT
    python -m studies.official ours PAIR --data EXPORT
    python -m studies.official table

`pairs.toml` holds what is compared: the settings of both sides stand under each other. A driver in
`codes` takes a checkout of an official repository, trains its classes on a dataset that
`python -m bench data export` wrote, and returns a policy, which plays in our environment on our
start states. Nothing of those repositories is part of this one. Every run appends a row to
`rows.jsonl`; docs/official.md shows them.

May import `bench` and `datasets`; nothing imports this. Start with `__main__`.
"""
