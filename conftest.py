"""For all tests: workers, notebook kernels and trainings share the cores, so one thread each is fastest, and memory that was freed is kept
by the processes they start, as the command line does it. What the notebooks write, kept parts and runs, goes to a folder of its own, so
that tests start from nothing and touch nobody's work; so does what they compile, each program once for all of them."""

import os
import tempfile
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**31 - 1))
folder = tempfile.TemporaryDirectory(prefix="dreamer_lite")
os.environ["DREAMER_HOME"] = folder.name
# Workers take over that of the process that started them.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{folder.name}/compiled")

LONGEST = [
    "tests/test_speed",  # compiles what notebook 10 finds
    "tests/browser/test_jupyterlab",
    "notebooks/A3",
    "notebooks/10",
    "notebooks/06",
    "tests/test_course",
    "tests/test_notebooks",
    "notebooks/09",
    "notebooks/A2",
    "tests/test_runs",
]
LONGEST += ["tests/test_widgets", "notebooks/08", "tests/browser/test_player", "tests/test_command_line"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long go first, so that no worker is left alone with one at the end. And nbval, which gives up when a cell shows
    nothing for 5 seconds after it has run, waits longer: a busy machine may need that."""
    items.sort(
        key=lambda item: next((k for k, start in enumerate(LONGEST) if item.nodeid.startswith(start)), len(LONGEST))
    )
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = 60


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may not be installed
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Workers take whole files, since the cells of a notebook need each other, in the order above."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)
