"""The executed notebooks as a folder of plain web pages: `python assets/make.py site`.

Nothing is run, and the pages ask no server for anything: they work from a file, and from any web space. The templates and the style are in
the folder site/ beside this file.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
import io
from pathlib import Path
import re
import sys
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExtractOutputPreprocessor
import nbformat
from nbformat import NotebookNode
from nbformat.reader import NotJSONError
from PIL import Image
from pygments.formatters import HtmlFormatter

from dreamer_lite.errors import Refused

ROOT = Path(__file__).resolve().parent.parent
PARTS = Path(__file__).parent / "site"
MADE = ".made_by_make"  # lists the files of an earlier call, so that the next one removes these and nothing else
CONTROLS = "application/vnd.jupyter.widget-view+json"
NOTE = '<p class="note">In JupyterLab this picture has controls.</p>'


@dataclass(frozen=True)
class Page:
    """A notebook as a page. title: "05 · The RSSM". promise and body are HTML; description is the promise as plain text."""

    file: str
    title: str
    promise: Markup
    description: str
    minutes: str
    body: Markup


@dataclass(frozen=True)
class Course:
    """What the README says about the whole: name, one sentence, and the command that sets it up."""

    name: str
    sentence: str
    command: str


def make_site(folder: Path = ROOT / "site") -> None:
    """The command: build, and say in one line what was made, or what is wrong."""
    try:
        print(build(folder))
    except Refused as error:
        sys.exit(f"make.py site: {error}")


def build(folder: Path, notebooks: Path = ROOT / "notebooks") -> str:
    """Write the pages of all notebooks into the folder, in place of those of an earlier call. Returns one line: how many, how large.

    Raises Refused for a folder with other things in it, and for a notebook that was not executed or has no title, promise or minutes.
    """
    earlier = made_before(folder)
    files = dict(site(notebooks))
    try:
        for old in earlier:
            old.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MADE).write_text("".join(f"{name}\n" for name in files), encoding="utf-8")
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as error:
        raise Refused(f"{folder} can't be written: {error.strerror}") from error
    pages = sum(name.endswith(".html") for name in files)
    return f"{folder.resolve().name}/: {pages} pages, {sum(map(len, files.values())) / 1e6:.1f} MB"


def made_before(folder: Path) -> list[Path]:
    """The files that an earlier call wrote into this folder. Raises Refused if others did."""
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is a file; name a folder for the pages")
    if (folder / MADE).is_file():
        return [folder / name for name in (folder / MADE).read_text(encoding="utf-8").splitlines()]
    if folder.exists() and any(folder.iterdir()):
        raise Refused(f"{folder} is not empty and was not made by this command; name a new or an empty folder")
    return []


def site(notebooks: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the site: its name, and what is in it."""
    course, pages = read_course(), []
    names = [
        path.stem for path in sorted(notebooks.glob("[0-9A]*.ipynb"))
    ]  # the appendices, A1 and so on, sort behind 10
    for name in names:
        page, pictures = convert(notebooks / f"{name}.ipynb", names)
        pages.append(page)
        yield from pictures.items()
    frames = Environment(
        loader=FileSystemLoader(PARTS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None]):
        html = frames.get_template("notebook.html").render(course=course, page=page, before=before, after=after)
        yield page.file, html.encode()
    yield "index.html", frames.get_template("index.html").render(course=course, pages=pages).encode()
    style = (PARTS / "style.css").read_text(encoding="utf-8")
    yield "style.css", (style + HtmlFormatter(style="default").get_style_defs(".highlight")).encode()


def read_course() -> Course:
    """Name, sentence and command as they stand in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    name = re.search(r"^# (.+)$", text, re.M)
    sentence = name and re.search(rf"^{re.escape(name[1])} is .+?\.(?=\s)", text, re.M | re.S)
    command = re.search(r"<!-- course command -->\s*```\w*\n(.+?)\n```", text, re.S)
    if not (name and sentence and command):
        raise Refused(
            "README.md: it needs a title, a sentence that begins with '<title> is', and the marked course command"
        )
    return Course(name[1], " ".join(sentence[0].split()), command[1])


def convert(path: Path, names: list[str]) -> tuple[Page, dict[str, bytes]]:
    """A notebook as a page, and the pictures in it by file name. names: the notebooks that have a page, for the links between them."""
    book = read_notebook(path)
    prepare(book)
    html, resources = exporter().from_notebook_node(book, {"unique_key": path.stem, "output_files_dir": "pictures"})
    pictures = {name.replace("\\", "/"): content for name, content in resources["outputs"].items()}
    soup = BeautifulSoup(html, "html.parser")
    for mark in soup("a", class_="anchor-link"):
        mark.decompose()  # nbconvert can leave out the ¶ behind a heading, but then the heading has no id either
    page = front(soup, path)
    relink(soup, names)
    pictures |= fetch_images(soup, path)
    for picture in soup("img"):
        give_size(picture, pictures)
    for table in soup("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "wide"}))
    return replace(page, body=Markup(str(soup))), pictures


@cache
def exporter() -> HTMLExporter:
    """nbconvert, with its plainest template: no scripts, no styles, and each output's picture in a file of its own."""
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.register_preprocessor(ExtractOutputPreprocessor(), enabled=True)
    return exporter


def read_notebook(path: Path) -> NotebookNode:
    """The notebook. Raises Refused if it was not run to its end."""
    mend = f"run it first: python assets/make.py notebooks notebooks/{path.name}"
    try:
        book = nbformat.read(path, 4)
    except NotJSONError as error:
        raise Refused(f"{path.name} can't be read as a notebook") from error
    for cell in book.cells:
        if cell.cell_type == "code" and cell.source.strip():
            if cell.execution_count is None:
                raise Refused(f"{path.name} was not executed; {mend}")
            if any(output.output_type == "error" for output in cell.outputs):
                raise Refused(f"{path.name} stopped with an error; {mend}")
    return book


def prepare(book: NotebookNode) -> None:
    """Take out the controls, which need a kernel, say where they were, and give every picture its words."""
    book.metadata.pop("widgets", None)
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        still = [output for output in cell.outputs if CONTROLS not in output.get("data", {})]
        controls = len(still) < len(cell.outputs) or shows_controls().search(cell.source)
        cell.outputs = still
        pictures = [k for k, output in enumerate(cell.outputs) if "image/png" in output.get("data", {})]
        for k in pictures:
            output = cell.outputs[k]
            output.metadata.setdefault("image/png", {}).setdefault("alt", output.data.get("text/plain", ""))
        if controls and pictures:
            cell.outputs.insert(pictures[-1] + 1, nbformat.v4.new_output("display_data", {"text/html": NOTE}))


@cache
def shows_controls() -> re.Pattern[str]:
    """Finds a line that shows a picture with controls. Committed notebooks keep only the picture, so the course's code tells: the functions
    that return an Explorer."""
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "dreamer_lite" / "course").rglob("*.py")]
    functions = [
        node.name
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id == "Explorer"
    ]
    return re.compile(rf"^(\w+\.)*({'|'.join(functions)})\(", re.M)


def front(soup: BeautifulSoup, path: Path) -> Page:
    """What the first cell says: title, promise (its first bold sentence) and minutes. Its links to the neighbours go: the page has others."""
    first = soup.find("div", class_="cell") or soup
    title, promise = first.h1, first.strong
    minutes = first.find(lambda tag: tag.name == "p" and "minute" in tag.get_text())
    if not (title and promise and minutes):
        raise Refused(f"{path.name}: its first cell needs a title, a promise in bold and a line with the minutes")
    minutes.string = minutes.get_text().split(" · ")[0]
    words = " ".join(promise.get_text().split())
    return Page(
        f"{path.stem}.html", title.get_text(), Markup(promise.decode_contents()), words, minutes.string, Markup()
    )


def relink(soup: BeautifulSoup, names: list[str]) -> None:
    """Lead links between notebooks from page to page. Those to other files of the repository become plain text."""
    for link in soup("a", href=True):
        parts = urlsplit(link["href"])
        target = unquote(parts.path)
        if parts.scheme or not target:
            continue
        if target.endswith(".ipynb") and Path(target).stem in names:
            link["href"] = parts._replace(path=f"{Path(target).stem}.html").geturl()
        else:
            link.unwrap()


def fetch_images(soup: BeautifulSoup, path: Path) -> dict[str, bytes]:
    """The pictures that the text of a notebook names, by the name they get in the site, where they keep their folder."""
    found = {}
    for picture in soup("img"):
        source = unquote(picture["src"])
        if source.startswith(("data:", "pictures/")):
            continue
        file = (path.parent / source).resolve()
        if urlsplit(source).scheme or not file.is_file() or not file.is_relative_to(ROOT):
            raise Refused(f"{path.name} shows {source}, which is no file of this repository")
        name = file.relative_to(
            path.parent.resolve() if file.is_relative_to(path.parent.resolve()) else ROOT
        ).as_posix()
        picture["src"] = name
        found[name] = file.read_bytes()
    return found


def give_size(picture: Tag, files: dict[str, bytes]) -> None:
    """Write the size into a picture's tag, so that the text doesn't jump when it arrives, and mark one that is flat, a strip or a table."""
    if picture["src"].endswith(".png") and picture["src"] in files:
        width, height = Image.open(io.BytesIO(files[picture["src"]])).size
        if not picture.get("width"):
            picture["width"], picture["height"] = width, height
        if width > 3 * height:
            picture["class"] = "flat"
