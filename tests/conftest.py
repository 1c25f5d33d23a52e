"""Settings of the whole suite: one thread, so that timings and sums do not depend on the machine; seeded properties."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("suite")
