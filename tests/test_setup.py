"""The set-up files agree with each other and with the code."""

import ast
from pathlib import Path
import re
import sys

import yaml

from dreamer_lite.__main__ import train_parser

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

ROOT = Path(__file__).parent.parent


def requirement(text):
    name, bound = re.fullmatch(r"([\w.-]+)>=([\d.]+)", text).groups()
    return name, bound


def pyproject_lists():
    text = (ROOT / "pyproject.toml").read_text()
    if tomllib:
        project = tomllib.loads(text)["project"]
        extras = project["optional-dependencies"]
        return project["requires-python"], project["dependencies"], extras["course"] + extras["test"]
    core, course, test = (ast.literal_eval(re.search(rf"^{name} = (\[.*?\])", text, re.M | re.S).group(1))
                          for name in ("dependencies", "course", "test"))
    return re.search(r'requires-python = "(.*)"', text).group(1), core, course + test


def test_conda_and_pip_install_the_same():
    python, core, test = pyproject_lists()
    pip = dict(requirement(r) for r in [*core, *test])
    pip["pytorch"] = pip.pop("torch")
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda[-2:] == ["pip", {"pip": ["-e ."]}]
    conda = dict(requirement(r) for r in conda[:-2])
    assert conda.pop("python") == python.removeprefix(">=")
    assert conda == pip


def test_every_dependency_earns_a_line_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    _, core, test = pyproject_lists()
    for r in [*core, *test]:
        assert re.search(rf"^\| `{requirement(r)[0]}` \|", readme, re.M), f"the README does not say why {r} is needed"


def test_files_and_pictures_that_the_readme_names_exist():
    for document in [ROOT / "README.md", *ROOT.glob("assets/**/README.md"), ROOT / "notebooks/README.md"]:
        text = document.read_text()
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
            assert (document.parent / target).exists(), f"{document.name} names {target}"
        assert all(alt.strip() for alt in re.findall(r"!\[([^\]]*)\]", text)), f"{document.name} has a picture without words"


def test_options_that_the_readme_uses_exist():
    known = set(train_parser()._option_string_actions) | {"--context", "--shape", "--repeats", "--growth"}
    for block in re.findall(r"```(?:bash|sh)\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        for line in block.splitlines():
            if "-m dreamer_lite" in line:
                used = re.findall(r"(--[\w-]+)", line.split("-m dreamer_lite", 1)[1].split("#")[0])
                assert {option.replace("-", "_").replace("__", "--", 1) for option in used} <= known, line


def test_the_help_explains_every_option():
    text = train_parser().format_help()
    for action in train_parser()._actions:
        assert action.help and action.option_strings[-1] in text


def test_arrows_point_one_way():
    """The algorithm imports neither the whole agent nor the course; see the layout in the README."""
    layers = [["symlog", "two_hot", "latents", "nets", "optim", "config", "rssm", "world_model", "critic", "actor", "imagination",
               "replay", "envs"], ["agent", "evaluate", "checkpoint", "draw", "export", "train", "capture", "bench", "__main__"]]
    for name in layers[0]:
        tree = ast.parse((ROOT / "dreamer_lite" / f"{name}.py").read_text())
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
        assert not imported & {*layers[1], "course"}, f"{name}.py imports {imported}"
    assert {path.stem for path in (ROOT / "dreamer_lite").glob("*.py")} == {*layers[0], *layers[1], "__init__"}
