"""The set-up files agree with each other and with the code."""

import ast
import email
import importlib.util
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
import torch
import yaml

from dreamer_lite.command_line import parse
from dreamer_lite.config import Config
from dreamer_lite.errors import Refused
from dreamer_lite.training import checkpoint

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dreamer_lite"


def requirement(text):
    name, bound = re.fullmatch(r"([\w.-]+)>=([\d.]+)", text).groups()
    return name, bound


def pyproject_lists():
    text = (ROOT / "pyproject.toml").read_text()
    if tomllib:
        project = tomllib.loads(text)["project"]
        extras = project["optional-dependencies"]
        return project["requires-python"], project["dependencies"], extras["course"] + extras["test"]
    core, course, test = (
        ast.literal_eval(re.search(rf"^{name} = (\[.*?\])", text, re.M | re.S).group(1))
        for name in ("dependencies", "course", "test")
    )
    return re.search(r'requires-python = "(.*)"', text).group(1), core, course + test


def test_conda_and_pip_install_the_same():
    python, core, test = pyproject_lists()
    pip = dict(requirement(r) for r in [*core, *test])
    pip["pytorch"] = pip.pop("torch")
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda[-2] == "pip" and conda[-1]["pip"][-1] == "-e ."
    conda = dict(requirement(r) for r in conda[:-2] + conda[-1]["pip"][:-1])
    assert conda.pop("python") == python.removeprefix(">=")
    assert conda == pip


DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "notebooks/README.md",
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("assets/**/README.md"),
]


def test_every_dependency_earns_a_line():
    page = (ROOT / "docs/install.md").read_text()
    _, core, test = pyproject_lists()
    for r in [*core, *test]:
        assert re.search(rf"^\| `{requirement(r)[0]}` \|", page, re.M), (
            f"docs/install.md does not say why {r} is needed"
        )


def test_the_readme_is_one_page_and_each_other_page_opens_with_its_answer():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
    for page in ROOT.glob("docs/*.md"):
        title, _, first = page.read_text().splitlines()[:3]
        assert title.startswith("# ") and first.startswith("**Short answer:** "), page.name
        assert page.name in (ROOT / "README.md").read_text(), f"no way leads to {page.name}"


def test_files_and_pictures_that_a_document_names_exist():
    for document in DOCUMENTS:
        text = document.read_text()
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
            assert (document.parent / target).exists(), f"{document.name} names {target}"
        assert all(alt.strip() for alt in re.findall(r"!\[([^\]]*)\]", text)), (
            f"{document.name} has a picture without words"
        )


def test_the_map_names_files_and_functions_that_exist():
    """`training/loop.py: run` in CONTRIBUTING.md: the file is there, and what is named in it."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    places = re.findall(r"`([\w/]+\.py): ([\w.]+)`", text)
    assert len(places) > 25
    for file, name in places:
        found = [path for path in (PACKAGE / file, ROOT / file) if path.exists()]
        assert found, f"the map names {file}"
        assert re.search(rf"\b{name.split('.')[-1]}\b", found[0].read_text()), f"{file} has no {name}"


def blocks(language):
    """The code blocks of the documents, each with the name of its document."""
    for document in DOCUMENTS:
        for block in re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.S):
            yield document.name, block


def test_commands_in_the_documents_are_understood(monkeypatch, capsys):
    """Each is parsed, up to the point where it would run."""
    lines = [
        line.split("#")[0].split()
        for _, block in blocks("bash")
        for line in block.splitlines()
        if line.startswith(("python -m dreamer_lite", "dreamer-lite"))
    ]
    assert len(lines) >= 10
    monkeypatch.setattr(checkpoint, "read", lambda *_: checkpoint.Saved(Config(), None, {}, {}, Path(), 0))
    for words in lines:
        words = words[3:] if words[0] == "python" else words[1:]
        if "--help" not in words:
            assert parse(words).run


@pytest.mark.parametrize("name", ["README.md", "worlds.md"])
def test_the_examples_in_python_run(name, tmp_path, monkeypatch, capsys):
    """Word for word and one after the other, but for the settings, which learn nothing here."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(block for document, block in blocks("python") if document == name)
    settings = r'Config\.preset\("small", seed=5\)|Config\(steps=2000\)'
    code, replaced = re.subn(settings, 'Config.preset("debug", steps=80)', code)
    assert replaced == 1
    exec(code, names := {})
    assert capsys.readouterr().out.splitlines()[-1] == str(names["total"]) and names["carry"].action.shape == (1, 2)
    with pytest.raises(Refused, match="resume=True from Python"):
        exec(code, {})


def test_all_examples_in_python_are_run():
    assert {name for name, _ in blocks("python")} == {"README.md", "worlds.md"}


def test_what_assets_import_from_the_package_is_there():
    """Also inside functions that no test calls."""
    for file in sorted((ROOT / "assets").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dreamer_lite"):
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}"), (
                        f"{file.name}, line {node.lineno}: {node.module} has no {name.name}"
                    )


LAYERS = [  # each may import from itself and from those before it
    ["errors", "rng", "symlog", "two_hot", "nets", "codecs", "scan", "optim", "replay", "config", "products", "files"],
    ["latents", "rssm", "world_model", "imagination", "critic", "actor"],
    ["agent", "learner"],
    ["evaluation"],
    ["training"],
    ["diagnostics", "web_player"],
    ["course"],
    ["conformance"],  # it judges with the course's banks of mistakes; nothing else imports the course
    ["command_line", "__main__"],
]
ENVS_KNOW = {"errors", "config", "replay"}  # envs stands beside the whole agent
TORCH_ONLY = ["symlog", "two_hot", "latents", "rssm", "world_model", "imagination", "critic", "actor"]


def imports(path):
    """The modules that a file imports: ours without the package's name, others whole."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            inner = path.relative_to(PACKAGE).parts[: -node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ("." + ".".join([*inner, name]) for name in names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


def modules(path):
    """The modules of ours that a file imports, as paths below the package: training/loop, config."""
    for name in imports(path):
        if name.startswith("."):
            place = name[1:].replace(".", "/")
            yield place if (PACKAGE / f"{place}.py").exists() or (PACKAGE / place).is_dir() else str(Path(place).parent)


def test_arrows_point_one_way():
    """command_line → conformance → course → diagnostics, web_player → training → evaluation → the whole agent → the
    algorithm → what it stands on; see CONTRIBUTING.md. Only conformance knows the course."""
    place = {name: k for k, names in enumerate(LAYERS) for name in names}
    rooms = {
        path.name.removesuffix(".py")
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms == {*place, "envs", "__init__"}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        targets = {module.split("/")[0] for module in modules(path)}
        if room == "envs":
            assert targets <= {"envs", *ENVS_KNOW}, (path, targets)
        elif room != "__init__":
            assert "course" not in targets or room in ("course", "conformance"), f"{path.name} imports the course"
            wrong = {target for target in targets & place.keys() if place[target] > place[room]}
            assert not wrong, f"{path.name} imports {wrong}"
            assert "envs" not in targets or place[room] >= place["evaluation"], f"{path.name} knows of environments"


def test_no_two_modules_import_each_other():
    """Nor three in a circle; nothing is imported for its type only, but for the agent's in the command line, which
    must start quickly."""
    arrows = {
        str(path.relative_to(PACKAGE).with_suffix("")): set(modules(path))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    for path in PACKAGE.rglob("*.py"):
        assert "TYPE_CHECKING" not in path.read_text() or path.name == "command_line.py", path
    while free := [name for name, targets in arrows.items() if not targets & arrows.keys() - {name}]:
        for name in free:
            del arrows[name]
    assert not arrows, f"a circle: {sorted(arrows)}"


def test_only_the_command_line_knows_tyro():
    for path in PACKAGE.rglob("*.py"):
        assert "tyro" not in set(imports(path)) or path.name == "command_line.py", path


def test_the_algorithm_needs_torch_only():
    for name in TORCH_ONLY:
        others = {part.split(".")[0] for part in imports(PACKAGE / f"{name}.py") if not part.startswith(".")}
        assert others <= {"torch", "typing", "math", "copy", "functools", "collections"}, (name, others)


def test_least_squares_use_a_driver_that_finds_the_rank():
    """PyTorch's default now and then takes stale memory for an order of the columns and drops directions: with actions
    of one-hot and a constant beside them, that made notebook 07's linear map half as good on some runs."""
    pair = torch.stack(
        [torch.eye(3), torch.diag(torch.ones(2), 1)]
    )  # the second is solved with what the first left behind
    assert torch.linalg.lstsq(pair, torch.ones(2, 3, 1), driver="gelsd").rank.tolist() == [3, 2]
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "notebooks").glob("*.ipynb")]:
        for line in path.read_text().splitlines():
            assert "linalg.lstsq(" not in line or "gelsd" in line, f"{path.name}: {line.strip()}"


def build(target, source, folder):
    """The wheel or sdist that hatchling makes of a source folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (file,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return file


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built from the unpacked sdist, so that test fails, too, where the sdist lacks something."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.unpack_archive(sdist, folder)
    return build("wheel", next(folder.glob("dreamer_lite-*")), folder)


def test_the_sdist_holds_what_builds_the_wheel_and_no_more(sdist):
    with tarfile.open(sdist) as archive:
        inside = {name.split("/")[1] for name in archive.getnames()}
    assert inside == {
        ".gitignore",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "assets",
        "dreamer_lite",
        "hatch_build.py",
        "pyproject.toml",
        "tests",  # the official numbers
    }
    assert sdist.stat().st_size < 8e6


def test_what_a_package_index_shows(wheel):
    """Licence, addresses, and a README whose links work outside the repository."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(name))
    assert about["License-Expression"] == "MIT" and about.get_all("License-File") == ["LICENSE"]
    assert [address.split(",")[0] for address in about.get_all("Project-URL")] == ["Paper", "Official code"]
    assert "Typing :: Typed" in about.get_all("Classifier")
    readme = about.get_payload(decode=True).decode()
    assert readme.startswith("# Dreamer Lite") and "picture: " in readme
    assert re.findall(r"\]\((?!https?:|#)", readme) == []


COURSE_FROM_A_WHEEL = """
import dreamer_lite
from dreamer_lite.course import self_check, setup
from dreamer_lite.course.a1_break_it.clinic import PATIENTS, scores, verdicts
from dreamer_lite.course.a2_pixels import film, picture_lab
from dreamer_lite.course.a3_your_world import memory, torque
from dreamer_lite.course.dream_player import dream_player
from dreamer_lite.course.index import EXERCISES
from dreamer_lite.course.n06_world_model import model_lab
from dreamer_lite.course.n09_actor import actor_lab
from dreamer_lite.course.n10_cartpole.run_view import recorded

assert "installed" in dreamer_lite.__file__ and len(EXERCISES) > 30
setup("00")
dream_player("you")  # prints the page where there is no notebook
assert self_check()
assert len(recorded()) == 10
assert len(scores()) == len(PATIENTS) == len(verdicts()["values"])
assert "real angle" in film.draw_film(20, 0, "as in reality")[1]
assert "At the end" in memory.draw_patients()[1]
assert "1,000 steps: return -156" in torque.draw_lapse()[1] and torque.recorded_agent()
assert "3,200 train steps" in picture_lab.draw_recorded()[1]
assert len(model_lab.recorded_errors()) == len(actor_lab.recorded_seeds()) == 5
"""


def test_the_wheel_carries_what_the_course_needs(wheel, tmp_path):
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*install, "--target", "installed", str(wheel)], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "installed/dreamer_lite/py.typed").exists()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    result = subprocess.run(
        [sys.executable, "-c", COURSE_FROM_A_WHEEL], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "dreamer-player" in result.stdout and len(result.stdout) > 100_000


KIT_FROM_A_WHEEL = """
import sys
sys.modules |= {"IPython": None, "ipywidgets": None}  # the extra `course` is not needed
from dreamer_lite.__main__ import main
from dreamer_lite.conformance import conformance
from dreamer_lite.symlog import symlog

row = conformance({"symlog": symlog}, "torch").rows[0]
assert row.state == "equal", row
assert main(["conformance", "mine.py", "--template"]) == 0
sys.exit(main(["conformance", "mine.py"]))
"""


def test_the_wheel_carries_the_official_numbers(wheel, tmp_path):
    """Without the repository and without the course's packages; the template as it is has nothing to compare."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        assert "dreamer_lite/conformance/golden/README.md" in archive.namelist()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    result = subprocess.run(
        [sys.executable, "-c", KIT_FROM_A_WHEEL], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 2 and "mine has no function for any piece" in result.stderr, result.stderr


def test_lint_and_format():
    """Notebooks included; .ci/run runs the same. To mend: ruff check --fix . && ruff format ."""
    for words in (["check"], ["format", "--check"]):
        result = subprocess.run([sys.executable, "-m", "ruff", *words, "."], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
