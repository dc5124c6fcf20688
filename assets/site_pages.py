"""The course as a folder of plain web pages: `python assets/make.py site`.

Every notebook in notebooks/ and every text in docs/ becomes a page. Nothing is run: notebooks are shown as they were
executed. The pages load nothing from a network, so they open from a file and from any web space. Templates and style
are in the folder site/ beside this file.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
import io
from pathlib import Path
import re
import sys
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, NavigableString, Tag
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
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
MADE = ".made_by_make"  # lists the files that a call wrote, so that the next call removes these and nothing else
CONTROLS = "application/vnd.jupyter.widget-view+json"
NOTE = '<p class="note">In JupyterLab, this figure has controls.</p>'
PICTURES = (".png", ".svg", ".gif", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Page:
    """A notebook or a text as a page. title: "05 · The RSSM". promise, one sentence on what it shows, and body are
    HTML; description is the sentence as plain text. minutes is empty for a text of docs/."""

    file: str
    title: str
    promise: Markup
    description: str
    minutes: str
    body: Markup


@dataclass(frozen=True)
class Course:
    """The project's name, one sentence about it, and the command that sets up the course, all from the README."""

    name: str
    sentence: str
    command: str


def make_site(folder: Path = ROOT / "site") -> None:
    """The command: build the site, and print one line about it, or about what is wrong."""
    try:
        print(build(folder))
    except Refused as error:
        sys.exit(f"make.py site: {error}")


def build(folder: Path, root: Path = ROOT) -> str:
    """Write the pages into the folder, in place of those of an earlier call. Returns one line: how many, how large.

    root: the folder that holds notebooks/ and docs/. Raises Refused for a folder with other files in it, for a notebook
    that was not executed or has no title, promise or minutes, and for a text without a title or a paragraph.
    """
    earlier = made_before(folder)
    files = dict(site(root))
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
    """The files that an earlier call wrote into this folder. Raises Refused for a folder with other files only."""
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is a file; name a folder for the pages")
    if (folder / MADE).is_file():
        return [folder / name for name in (folder / MADE).read_text(encoding="utf-8").splitlines()]
    if folder.exists() and any(folder.iterdir()):
        raise Refused(f"{folder} is not empty and was not made by this command; name a new or an empty folder")
    return []


def site(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the site: its name and its content."""
    course = read_course()
    books = sorted((root / "notebooks").glob("[0-9A]*.ipynb"))  # the appendices, A1 and so on, sort behind 10
    texts = sorted((root / "docs").glob("*.md"), key=lambda path: (place(path.name), path.name))
    links = {path.resolve(): f"{path.stem}.html" for path in [*books, *texts]}
    frames = Environment(
        loader=FileSystemLoader(PARTS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    groups = []
    for paths in (books, texts):
        converted = [convert(path, root, links) for path in paths]
        for _, pictures in converted:
            yield from pictures.items()
        pages = [page for page, _ in converted]
        for before, page, after in zip([None, *pages], pages, [*pages[1:], None]):
            html = frames.get_template("page.html").render(course=course, page=page, before=before, after=after)
            yield page.file, html.encode()
        groups.append(pages)
    index = frames.get_template("index.html").render(course=course, notebooks=groups[0], guides=groups[1])
    yield "index.html", index.encode()
    style = (PARTS / "style.css").read_text(encoding="utf-8")
    yield "style.css", (style + HtmlFormatter(style="default").get_style_defs(".highlight")).encode()


def place(name: str) -> float:
    """Where the README first links to this text of docs/; infinity where it doesn't."""
    found = (ROOT / "README.md").read_text(encoding="utf-8").find(f"docs/{name}")
    return found if found >= 0 else float("inf")


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


def convert(path: Path, root: Path, links: dict[Path, str]) -> tuple[Page, dict[str, bytes]]:
    """A notebook or a text as a page, and its pictures by file name. links: the page of every file that has one."""
    text = path.suffix == ".md"
    book = read_text(path) if text else read_notebook(path)
    prepare(book)
    html, resources = exporter().from_notebook_node(book, {"unique_key": path.stem, "output_files_dir": "pictures"})
    pictures = {name.replace("\\", "/"): content for name, content in resources["outputs"].items()}
    soup = BeautifulSoup(html, "html.parser")
    for mark in soup("a", class_="anchor-link"):
        mark.decompose()  # nbconvert can leave out the ¶ behind a heading, but then the heading has no id either
    if text:
        name_headings(soup)
    page = text_front(soup, path) if text else front(soup, path)
    pictures |= relink(soup, path, root, links)
    pictures |= fetch_images(soup, path, root)
    for picture in soup("img"):
        give_size(picture, pictures)
    if soup.find(class_="dreamer-player"):
        offer_touch(soup)
    mark_wide(soup)
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


def read_text(path: Path) -> NotebookNode:
    """A text of docs/ as a notebook of one cell: both kinds of page get the same Markdown and the same style."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(path.read_text(encoding="utf-8"))])


def prepare(book: NotebookNode) -> None:
    """Replace the controls, which need a kernel, with a note, and give every picture its alternative text."""
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
    """Finds a line that shows a figure with controls. Committed notebooks keep only the figure, so this looks for calls
    of the course's functions that return an Explorer."""
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "dreamer_lite" / "course").rglob("*.py")]
    functions = [
        node.name
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id == "Explorer"
    ]
    return re.compile(rf"^(\w+\.)*({'|'.join(functions)})\(", re.M)


def front(soup: BeautifulSoup, path: Path) -> Page:
    """What the first cell says: title, promise (its first bold sentence) and minutes. Its links to the neighbours are
    removed: the page has its own."""
    first = soup.find("div", class_="cell") or soup
    title, promise = first.h1, first.strong
    minutes = first.find(lambda tag: tag.name == "p" and "minute" in tag.get_text())
    if not (title and promise and minutes):
        raise Refused(f"{path.name}: its first cell needs a title, a promise in bold and a line with the minutes")
    minutes.string = minutes.get_text().split(" · ")[0]
    words = " ".join(promise.get_text().split())
    shows = re.sub(r"^After this notebook (\w)", lambda found: found[1].upper(), promise.decode_contents())
    return Page(f"{path.stem}.html", title.get_text(), Markup(shows), words, minutes.string, Markup())


def text_front(soup: BeautifulSoup, path: Path) -> Page:
    """Title and first sentence of a text of docs/."""
    words = next((" ".join(part.get_text().split()) for part in soup("p") if part.get_text().strip()), None)
    if not (soup.h1 and words):
        raise Refused(f"docs/{path.name}: it needs a title and a paragraph")
    sentence = re.split(r"(?<=[.?!]) ", words)[0]
    return Page(f"{path.stem}.html", soup.h1.get_text(), escape(sentence), sentence, "", Markup())


def name_headings(soup: BeautifulSoup) -> None:
    """Give headings the ids that GitHub gives them: the links in docs/ are written for both."""
    taken = Counter()
    for heading in soup(re.compile("^h[1-6]$")):
        name = re.sub(r"[^\w\- ]", "", heading.get_text().strip().lower()).replace(" ", "-")
        heading["id"] = f"{name}-{taken[name]}" if taken[name] else name
        taken[name] += 1


def relink(soup: BeautifulSoup, path: Path, root: Path, links: dict[Path, str]) -> dict[str, bytes]:
    """Lead links between notebooks and texts from page to page. Returns the pictures that are linked. A link to any
    other file of the repository becomes plain text."""
    found = {}
    for link in soup("a", href=True):
        parts = urlsplit(link["href"])
        if parts.scheme or not parts.path:
            continue
        file = (path.parent / unquote(parts.path)).resolve()
        if file in links:
            link["href"] = parts._replace(path=links[file]).geturl()
        elif file.suffix in PICTURES and file.is_file() and file.is_relative_to(root.resolve()):
            link["href"] = name_in_site(file, path, root)
            found[link["href"]] = file.read_bytes()
        else:
            link.unwrap()
    return found


def name_in_site(file: Path, path: Path, root: Path) -> str:
    """Pictures of the notebooks keep their folder in notebooks/, all others theirs in the repository."""
    beside = path.suffix == ".ipynb" and file.is_relative_to(path.parent.resolve())
    return file.relative_to(path.parent.resolve() if beside else root.resolve()).as_posix()


def fetch_images(soup: BeautifulSoup, path: Path, root: Path) -> dict[str, bytes]:
    """The pictures in the text of a page, by their names in the site."""
    found = {}
    for picture in soup("img"):
        source = unquote(picture["src"])
        if source.startswith(("data:", "pictures/")):
            continue
        file = (path.parent / source).resolve()
        if urlsplit(source).scheme or not file.is_file() or not file.is_relative_to(root.resolve()):
            raise Refused(f"{path.name} shows {source}, which is not a file of this repository")
        name = picture["src"] = name_in_site(file, path, root)
        found[name] = file.read_bytes()
    return found


def give_size(picture: Tag, files: dict[str, bytes]) -> None:
    """Write a picture's size into its tag, so that the text doesn't jump when it loads. Mark a flat one, a strip or a
    table."""
    if picture["src"].endswith(".png") and picture["src"] in files:
        width, height = Image.open(io.BytesIO(files[picture["src"]])).size
        if not picture.get("width"):
            picture["width"], picture["height"] = width, height
        if width > 3 * height:
            picture["class"] = "flat"


@cache
def player_keys() -> dict[str, str]:
    """The dream player's keys, and the button that does the same: {"2": "the agent drives", …}."""
    page = (ROOT / "dreamer_lite" / "web_player" / "player.html").read_text(encoding="utf-8")
    buttons = BeautifulSoup(page, "html.parser")("button", attrs={"aria-keyshortcuts": True})
    return {button["aria-keyshortcuts"]: button.get_text().split(":")[0].strip() for button in buttons}


def offer_touch(soup: BeautifulSoup) -> None:
    """Where the text says "Press 2", a touch screen reads "Tap the agent drives" instead. The style chooses."""
    for key in soup("strong"):
        before, name = key.previous_sibling, player_keys().get(key.get_text())
        press = isinstance(before, NavigableString) and re.search(r"\b[Pp]ress\s$", before)
        if not (press and name):
            continue
        verb = "Tap " if press[0][0] == "P" else "tap "
        before.replace_with(before[: press.start()])
        key.wrap(soup.new_tag("span", attrs={"class": "keys"})).insert(0, press[0])
        touch = soup.new_tag("span", attrs={"class": "touch"})
        button = soup.new_tag("strong")
        button.string = name
        touch.extend([verb, button])
        key.parent.insert_after(touch)


def mark_wide(soup: BeautifulSoup) -> None:
    """Wrap what may be wider than a phone: it scrolls in its own box, and a script shows an arrow there."""
    drawings = [
        picture for picture in soup("img") if picture["src"].endswith(".svg") or "flat" in picture.get("class", ())
    ]
    for part in [*soup("table"), *drawings]:
        part.wrap(soup.new_tag("span" if part.find_parent("p") else "div", attrs={"class": "wide"}))
    for part in [*soup("pre"), *soup(class_="wide")]:
        part.wrap(soup.new_tag("span" if part.find_parent("p") else "div", attrs={"class": "cue"}))
