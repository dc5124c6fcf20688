"""The notebooks keep their contract, blank and filled in."""

import ast
from importlib.util import find_spec
import inspect
from pathlib import Path
import re
import textwrap

from jupyter_client import KernelManager
from nbclient import NotebookClient
import nbformat
import pytest
from quick_cells import quick, unprepared

from dreamer_lite.course.agent_map import agent_map, alt
from dreamer_lite.course.index import EXERCISES, NOTEBOOKS
from dreamer_lite.course.n05_rssm.one_step import ALT, one_step

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
BOOKS = sorted(FOLDER.glob("[0-9A]*.ipynb"))  # the appendices, A1 and so on, sort behind 10
NAMES = [path.stem for path in BOOKS]


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", 4)


def words(book):
    return sum(len(cell.source.split()) for cell in book.cells if cell.cell_type == "markdown")


def definitions(book):
    """Every function and class that a notebook defines at the top of a cell."""
    for cell in book.cells:
        if cell.cell_type == "code":
            yield from (
                node for node in ast.parse(cell.source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            )


def is_stub(node):
    return any(
        isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and part.value.value is ...
        for part in node.body
    )


def test_all_are_here_and_each_has_its_exercises():
    assert [name[:2] for name in NAMES] == list(NOTEBOOKS)
    for name in NAMES:
        stubs = [node.name for node in definitions(read(name)) if is_stub(node)]
        assert stubs == [exercise.name for exercise in NOTEBOOKS[name[:2]].EXERCISES] and 3 <= len(stubs) <= 5


@pytest.mark.parametrize("name", NAMES)
def test_length(name):
    book = read(name)
    assert 45 <= len(book.cells) <= 75 and 1500 <= words(book) <= 2500, (len(book.cells), words(book))
    lengths = [len(cell.source.splitlines()) for cell in book.cells if cell.cell_type == "code"]
    assert max(lengths) <= 25 and sum(length < 10 for length in lengths) > len(lengths) / 2


@pytest.mark.parametrize("name", NAMES)
def test_order_of_the_parts(name):
    """Title and map, set-up, cold open, shapes, ideas and exercises, one honest number, break it, the original, recap,
    questions."""
    book = read(name)
    assert (
        book.cells[0].source.startswith(f"# {name[:2]} · ") and f"(images/map_{name[:2]}.svg)" in book.cells[0].source
    )
    assert (
        f'setup("{name[:2]}")' in book.cells[1].source
        and len(list(filter(None, book.cells[1].source.splitlines()))) <= 8
    )
    text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    parts = [
        "## Shapes today",
        "### Exercise 1",
        "## One honest number",
        "## Break it",
        "## Against the original",
        "## Recap",
        "**Do you remember?**",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.count("<details>") == 3
    recap = text[text.index("## Recap") : text.index("**Do you remember?**")]
    assert len(re.findall(r"^- ", recap, re.M)) == 5


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_has_its_check_right_after_it(name):
    cells = read(name).cells
    for here, after in zip(cells, cells[1:]):
        if here.cell_type == "code" and any(
            isinstance(n, ast.FunctionDef) and is_stub(n) for n in ast.parse(here.source).body
        ):
            function = re.match(r"def (\w+)", here.source).group(1)
            assert after.source.startswith(f"{function} = check({function})")


@pytest.mark.parametrize("name", NAMES)
def test_committed_outputs_are_whole_and_clean(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < 500_000
    book = nbformat.read(path, 4)
    assert "widgets" not in book.metadata
    counts = [cell.execution_count for cell in book.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run all, then save: python assets/make.py notebooks"
    for cell in book.cells:
        assert "execution" not in cell.metadata
        for out in cell.get("outputs", []):
            assert out.output_type != "error" and out.get("name") != "stderr"
            assert "application/vnd.jupyter.widget-view+json" not in out.get("data", {})
            if "image/png" in out.get("data", {}):
                assert len(out.data["text/plain"]) > 30 and "<" not in out.data["text/plain"], "a picture needs words"
    assert not re.search(r"/(home|root|tmp|Users)/|C:\\\\|site-packages", path.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_links_and_pictures(name):
    text = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert (FOLDER / target).exists(), target
    for words_of_it, number in re.findall(r"!\[([^\]]*)\]\(images/map_(\w\w).svg\)", text):
        assert words_of_it == alt(number) and (FOLDER / f"images/map_{number}.svg").read_text() == agent_map(number)
    for words_of_it in re.findall(r"!\[([^\]]*)\]\(images/one_step.svg\)", text):
        assert words_of_it == ALT and (FOLDER / "images/one_step.svg").read_text() == one_step()
    assert "pip install" not in text


def without_docstring(node):
    node = ast.parse(ast.unparse(node)).body[0]
    if ast.get_docstring(node) is not None:
        node.body = node.body[1:]
    node.returns = None
    for argument in [*node.args.args, *node.args.kwonlyargs]:
        argument.annotation = None
    return ast.dump(node)


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_with_a_namesake_in_the_package_is_the_same_code(name):
    package = {}
    for path in (ROOT / "dreamer_lite").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                package[node.name] = node
    for node in definitions(read(name)):
        if node.name in package and not is_stub(node):
            assert without_docstring(node) == without_docstring(package[node.name]), node.name


def test_every_stub_takes_the_arguments_of_the_finished_version():
    for name in NAMES:
        for node in definitions(read(name)):
            if is_stub(node):
                stub = [a.arg for a in node.args.args]
                finished = list(inspect.signature(EXERCISES[node.name].finished).parameters)
                if finished[:1] == ["self"]:  # a method: its object has a telling name in the notebook
                    finished[0] = stub[0]
                assert stub == finished, node.name


LONG = ("00", "06", "08", "09", "10", "A1", "A2", "A3")  # these take long after their last exercise


def filled(book):
    """The book with the finished source in place of every stub. Of a long book, the part up to the cell after the
    verdict on its last exercise: nbval runs what follows, with the package's functions."""
    if book.cells[0].source[2:4] in LONG:
        last = max(k for k, cell in enumerate(book.cells) if "= check(" in cell.source)
        book.cells = [cell for cell in book.cells[: last + 2] if "lab.train(" not in cell.source]
    for cell in book.cells:
        cell.source = unprepared(cell.source)
        if book.cells[0].source.startswith("# A"):  # these train in the middle; here it is enough that they can
            cell.source = quick(cell.source)
        if (
            cell.cell_type == "code"
            and (match := re.match(r"def (\w+)\(", cell.source))
            and is_stub(ast.parse(cell.source).body[0])
        ):
            finished = EXERCISES[match.group(1)].finished
            source = textwrap.dedent(inspect.getsource(finished))
            module = inspect.getmodule(finished).__name__
            imports = [
                f"from {module} import *",
                "from torch import Tensor",
                "from dreamer_lite.two_hot import neighbours",
            ]
            if module.endswith(".clinic"):  # its function of this name came with the star
                imports.append("from dreamer_lite.course.a1_break_it import clinic")
            cell.source = "\n".join([*imports, source])
    return book


AFRESH = """
import os
from dreamer_lite.course import plug

for finished in list(plug.plugged):
    plug.plug(finished, finished)
os.environ["DREAMER_HOME"] = {folder!r}
os.chdir({folder!r})
get_ipython().reset()
"""


@pytest.fixture(scope="module")
def kernel():
    """One for all notebooks, which takes seconds to start; nbval gives each its own."""
    manager = KernelManager(kernel_name="python3")
    yield manager
    if manager.is_alive():
        manager.shutdown_kernel(now=True)


WHAT_IS_THERE = """
from importlib.util import find_spec
print({{name for name in {names} if find_spec(name)}})
try:
    import hypothesis
except ModuleNotFoundError as error:
    print(error)
"""


def test_kernels_import_only_what_the_course_installs(kernel):
    """conftest.py hides the rest: what only the tests install would hide what the extra `course` lacks."""
    course = {"dreamer_lite", "torch", "gymnasium", "jupyterlab", "ipywidgets", "nbval", "pygame", "cv2", "json"}
    others = {"hypothesis", "xdist", "playwright", "hatchling", "tensorboard"}
    assert all(find_spec(name) for name in course | others)
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(WHAT_IS_THERE.format(names=sorted(course | others)))]
    )
    NotebookClient(book, km=kernel).execute()
    names, error = "".join(out.text for out in book.cells[0].outputs).splitlines()
    assert ast.literal_eval(names) == course and error == "No module named 'hypothesis'"


@pytest.mark.parametrize("name", NAMES)
def test_filled_in_it_runs_and_every_verdict_is_right(kernel, name, tmp_path):
    book = filled(read(name))
    book.cells.insert(0, nbformat.v4.new_code_cell(AFRESH.format(folder=str(tmp_path))))
    NotebookClient(book, km=kernel, resources={"metadata": {"path": str(tmp_path)}}, timeout=1200).execute()
    texts = [
        "".join(out.data.get("text/plain", ""))
        for cell in book.cells
        if cell.cell_type == "code"
        for out in cell.outputs
        if out.output_type == "display_data"
    ]
    for exercise in NOTEBOOKS[name[:2]].EXERCISES:
        assert f"{exercise.name}: right" in [text.splitlines()[0] for text in texts if text]


@pytest.mark.parametrize("name", NAMES)
def test_committed_blank_every_verdict_is_blank(name):
    texts = [
        out.data["text/plain"]
        for cell in read(name).cells
        if cell.cell_type == "code"
        for out in cell.outputs
        if out.output_type == "display_data" and "text/html" in out.data
    ]
    assert [t.splitlines()[0] for t in texts if ": blank" in t.splitlines()[0]] == [
        f"{e.name}: blank" for e in NOTEBOOKS[name[:2]].EXERCISES
    ]
