"""The reader's functions at work inside the package.

The package knows nothing of this. Wherever one of its modules or classes has a name for, say, `lambda_return`, that name is pointed at
the reader's version, and pointed back afterwards.
"""

from collections.abc import Callable, Iterator
import contextlib
from functools import lru_cache
import sys
from typing import Any

plugged: dict[Callable, Callable] = {}  # finished version: the reader's, which stands in for it now


@lru_cache(1)
def owners(loaded: int) -> list[Any]:
    """All modules of the package, and the classes in them, while so many modules are loaded. The exercises keep their own names: they
    tell right from wrong by them."""
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("dreamer_lite.") and not name.endswith(".exercises")
    ]
    return [*modules, *{thing for module in modules for thing in vars(module).values() if isinstance(thing, type)}]


def homes(function: Callable) -> list[tuple[Any, str]]:
    """Every name in the package, of a module or of a class in it, that stands for this function."""
    return [
        (owner, name)
        for owner in owners(len(sys.modules))
        for name, thing in list(vars(owner).items())
        if thing is function
    ]


def in_the_package(function: Callable) -> bool:
    """Whether the package runs with this function, and not only the course."""
    modules = (owner.__module__ if isinstance(owner, type) else owner.__name__ for owner, _ in homes(function))
    return any(not module.startswith("dreamer_lite.course.") for module in modules)


def point(here: Callable, there: Callable) -> None:
    """Every name for the one function stands for the other from now on."""
    for owner, name in homes(here):
        setattr(owner, name, there)


def plug(finished: Callable, version: Callable) -> None:
    """From now on the package runs with `version` wherever it says `finished`; with its own again if that is the version."""
    point(plugged.pop(finished, finished), version)
    if version is not finished:
        plugged[finished] = version


@contextlib.contextmanager
def unplugged() -> Iterator[None]:
    """Inside, the package is as it was made, so that nothing of the reader's takes part in a verdict; after, as it was before."""
    before = dict(plugged)
    for finished in before:
        plug(finished, finished)
    try:
        yield
    finally:
        for finished in {**plugged, **before}:
            plug(finished, before.get(finished, finished))


@contextlib.contextmanager
def standing_in(finished: Callable, version: Callable) -> Iterator[None]:
    """Inside, the package runs with `version` wherever it says `finished`; after, with its own again, whatever happened."""
    places = homes(finished)
    try:
        for owner, name in places:
            setattr(owner, name, version)
        yield
    finally:
        for owner, name in places:
            setattr(owner, name, finished)
