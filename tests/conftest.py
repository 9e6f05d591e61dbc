"""Settings of all tests."""

import os

# One thread: results can depend on the number of threads, and two test processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
