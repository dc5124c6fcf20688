"""For all tests: workers, notebook kernels and trainings share the cores. One thread each is fastest then."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
