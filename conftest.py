"""For all tests: workers, notebook kernels and trainings share the cores, so one thread each is fastest. And what the notebooks
write, kept parts and runs, goes to a folder of its own, so that tests start from nothing and touch nobody's work."""

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
folder = tempfile.TemporaryDirectory(prefix="dreamer_lite")
os.environ["DREAMER_HOME"] = folder.name
