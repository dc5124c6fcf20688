"""The table of environments in docs/worlds.md is the one that `python assets/make.py environments` keeps."""

from pathlib import Path
import re
import shlex
import sys

from dreamer_lite.command_line import parse

sys.path.insert(0, str(Path(__file__).parents[2] / "assets"))
import environments
from environments import BEGIN, END, ENVIRONMENTS, PAGE

ROWS = environments.kept()


def test_the_table_is_that_of_the_recorded_rows():
    text = PAGE.read_text(encoding="utf-8")
    assert text.split(BEGIN)[1].split(END)[0].strip() == environments.table()


def test_every_environment_was_tried_with_its_present_command():
    assert list(ROWS) == list(ENVIRONMENTS) and len(ROWS) >= 50
    for name, entry in ENVIRONMENTS.items():
        assert (ROWS[name]["command"], ROWS[name]["packages"]) == (entry.command, " ".join(entry.pins)), name
        assert bool(ROWS[name]["sees"] and ROWS[name]["does"]) == (ROWS[name]["result"] == "works"), name
        assert ROWS[name]["result"] == "works" or ROWS[name]["says"], name


def test_all_pins_are_exact_and_come_from_many_packages():
    pins = [pin for entry in ENVIRONMENTS.values() for pin in entry.pins]
    assert all(re.fullmatch(r"[\w.-]+(\[\w+\])?==\d[\w.]*", pin) for pin in pins)
    packages = {re.split(r"[\[=]", entry.pins[0])[0] for entry in ENVIRONMENTS.values()}
    readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    commands = (row["command"] for row in ROWS.values())  # some were tried in two ways; two adapters make several
    tried = {(re.search(r"--env (\S+)", one)[1], *re.findall(r" (name=\S+)", one)) for one in commands}
    assert f"{len(tried)} that were tried, from {len(packages)} packages" in readme and len(packages) >= 25


def test_commands_are_what_the_command_line_understands():
    """One command for each set of options that isn't part of another, since building the parser takes a while."""
    used = {}
    for entry in ENVIRONMENTS.values():
        words = shlex.split(entry.command)
        used.setdefault(frozenset(word for word in words if word.startswith("--")), words)
    for options, words in used.items():
        if any(options < more for more in used):
            continue
        assert parse([*words, *environments.TINY]).config().env == words[1]
