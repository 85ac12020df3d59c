"""Property tests draw the same examples every time, so that a run can be repeated.

`OM2P_BENCH_FUZZ=100000 pytest tests/bench/test_fuzz.py` explores new ones instead.
"""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
if "OM2P_BENCH_FUZZ" not in os.environ:
    settings.load_profile("repeatable")
