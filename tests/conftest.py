"""What every test needs around it."""

import pytest

from dreamer_lite.course.plug import unplugged


@pytest.fixture(autouse=True)
def no_reader(tmp_path, monkeypatch):
    """A folder of its own for what a reader keeps, and the package as it was made, before and after."""
    monkeypatch.setenv("DREAMER_HOME", str(tmp_path / "reader"))
    with unplugged():
        yield
