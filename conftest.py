"""Settings for all tests.

Workers, notebook kernels and trainings share the cores, so one thread each is fastest. The processes they start keep
freed memory, in huge pages, as the command line does. Everything the notebooks write goes to a temporary folder, so
that tests start from nothing and touch nobody's files; so does compiled code, shared by all tests. Notebook kernels
import only what the extra `course` installs, since readers have no more.
"""

from importlib import metadata
import os
from pathlib import Path
import sys
import tempfile
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there anyway

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**31 - 1))
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
folder = tempfile.TemporaryDirectory(prefix="dreamer_lite")
os.environ["DREAMER_HOME"] = folder.name
# Workers inherit this from the process that started them.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{folder.name}/compiled")


def installed_with(extra: str) -> set[str]:
    """The distributions that `pip install -e ".[extra]"` installs, with all their dependencies.

    Our own requirements are read from pyproject.toml: the installed metadata may be older.
    """
    project = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*map(Requirement, project["dependencies"] + project["optional-dependencies"][extra])]
    found: set[tuple[str, str]] = {("dreamer-lite", "")}  # name and extra
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        new = {(name, chosen) for chosen in ("", *requirement.extras)} - found
        found |= new
        try:
            needs = [*map(Requirement, metadata.requires(name) or [])]
        except metadata.PackageNotFoundError:  # optional, or for another machine
            continue
        for _, chosen in new:
            wanted += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": chosen})]
    return {name for name, _ in found}


def modules_besides(names: set[str]) -> set[str]:
    """The modules that belong only to other distributions than those named."""
    owners = metadata.packages_distributions()
    return {module for module, dists in owners.items() if not names & {canonicalize_name(dist) for dist in dists}}


# Kernels run the files in IPython's startup folder before the first cell. This one hides the other modules.
STARTUP = """
def hide(modules):
    from importlib.machinery import PathFinder
    import sys

    class Visible(PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            return None if name in modules else super().find_spec(name, path, target)

    sys.meta_path[sys.meta_path.index(PathFinder)] = Visible


hide({modules})
del hide
"""
os.environ["IPYTHONDIR"] = f"{folder.name}/ipython"
startup = Path(folder.name, "ipython", "profile_default", "startup", "course_only.py")
startup.parent.mkdir(parents=True)
startup.write_text(STARTUP.format(modules=modules_besides(installed_with("course"))), encoding="utf-8")

LONGEST = [
    "tests/training/test_speed",  # compiles what notebook 10 then finds
    "notebooks/A3",
    "notebooks/10",
    "tests/course/test_widgets",
    "tests/course/test_course",
    "tests/course/test_break_it",
    "tests/browser/test_jupyterlab",
    "tests/training/test_gpu_day",
    "tests/training/test_runs",
    "notebooks/06",
    "notebooks/A2",
    "notebooks/09",
    "tests/browser",
    "tests/course/test_notebooks",
    "tests/envs/test_worlds",
    "tests/training/test_parallel",
    "tests/test_conformance",
    "tests/envs",
    "tests/test_setup",
]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long files first, so that no worker ends up alone with one.

    And make nbval, which gives up when a cell shows nothing for 5 seconds after it has run, wait longer: a busy machine
    may need that.
    """
    items.sort(
        key=lambda item: next((k for k, start in enumerate(LONGEST) if item.nodeid.startswith(start)), len(LONGEST))
    )
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = 60


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may not be installed
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Workers take whole files, in the order above, since the cells of a notebook depend on each other."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)
