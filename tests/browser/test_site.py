"""The course as web pages, opened from files in a real browser, on a phone and on a desk."""

from collections import Counter
from pathlib import Path
import re
import subprocess
import sys
from urllib.parse import unquote, urlsplit

from browsing import SHOTS, browser  # noqa: F401  browser is a fixture
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
import pytest

from dreamer_lite.errors import Refused

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "assets"))
import site_pages  # noqa: E402

BOOKS = sorted(ROOT.glob("notebooks/[0-9A]*.ipynb"))
PAGES = ["index", *(path.stem for path in BOOKS)]
SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1280, "height": 800}}
FIRST = "# A1 · More\n\n**After this you can `add`.**\n\nAbout 5 minutes to read. · Previous: [10](10_cartpole.ipynb)"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site, made by the command itself, and what the command printed."""
    folder = tmp_path_factory.mktemp("web") / "pages"
    made = subprocess.run([sys.executable, "assets/make.py", "site", folder], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return folder, made.stdout


@pytest.fixture(scope="module", params=SIZES)
def screen(browser, request):
    page = browser.new_page(viewport=SIZES[request.param])
    page.size = request.param
    yield page
    page.close()


def visit(page, file):
    """Open a page and wait until all is there. Returns what it asked for, and what went wrong in its scripts."""
    asked, errors = [], []
    listeners = {
        "request": lambda request: asked.append(request.url),
        "pageerror": lambda error: errors.append(str(error)),
        "console": lambda message: errors.append(message.text) if message.type == "error" else None,
        "requestfailed": lambda request: errors.append(request.url),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    page.goto(file.as_uri())
    page.wait_for_function(
        "[...document.querySelectorAll('.dreamer-player')].every(box => box.querySelector('iframe'))"
    )
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    return asked, errors


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_asks_no_network_and_fits_the_screen(built, screen, name):
    asked, errors = visit(screen, built[0] / f"{name}.html")
    assert {urlsplit(url).scheme for url in asked} <= {"file", "data", "blob", "about"} and not errors, (asked, errors)
    assert screen.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert screen.evaluate("document.documentElement.lang") == "en" and screen.locator("h1").count() == 1
    assert screen.locator("main").count() == 1 and screen.locator("nav[aria-label]").count() == (
        0 if name == "index" else 2
    )
    heading, title = screen.locator("h1").inner_text(), screen.title()
    assert title == ("Dreamer Lite" if name == "index" else f"{heading} – Dreamer Lite")
    assert len(screen.locator("meta[name=description]").get_attribute("content")) > 40
    assert "width=device-width" in screen.locator("meta[name=viewport]").get_attribute("content")
    levels = screen.evaluate("[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and all(lower <= upper + 1 for upper, lower in zip(levels, levels[1:])), levels
    pictures = screen.evaluate(
        "[...document.images].map(img => [img.src, img.alt.trim(), img.complete && img.naturalWidth])"
    )
    assert all(alt and width for _, alt, width in pictures), pictures
    text = (
        screen.locator("body").inner_text().replace("✓ ipywidgets", "")
    )  # the self-check of notebook 00 names the package
    for dead in (
        "ipywidgets",
        "Error displaying widget",
        "application/vnd.jupyter",
        "Traceback (",
        "$$",
        "\\frac",
        "{{",
        "¶",
    ):
        assert dead not in text
    screen.screenshot(path=str(SHOTS / f"site_{name}_{screen.size}.png"))


def test_text_lines_are_short_and_code_is_coloured(built, screen):
    visit(screen, built[0] / f"{BOOKS[5].stem}.html")
    em = float(screen.evaluate("parseFloat(getComputedStyle(document.querySelector('main p:not(.note)')).fontSize)"))
    widths = screen.evaluate("[...document.querySelectorAll('main p')].map(p => p.getBoundingClientRect().width)")
    assert max(widths) <= 47 * em
    colours = screen.evaluate(
        "[...document.querySelectorAll('.highlight span')].map(span => getComputedStyle(span).color)"
    )
    assert len(set(colours)) >= 4


def test_a_flat_picture_stays_large_enough_to_read(built, screen):
    """A table of 24 columns: on a phone it scrolls in its own box instead of shrinking to the screen."""
    visit(screen, built[0] / "01_experience.html")
    assert screen.locator(".output_png img").first.bounding_box()["width"] >= 700


def test_every_link_leads_somewhere(built):
    """To a page of the site and to an anchor that is there, or out of it. No link is lost on the way, but for those to other files."""
    soups = {
        path.name: site_pages.BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in built[0].glob("*.html")
    }
    assert sorted(soups) == sorted(f"{name}.html" for name in PAGES)
    anchors = {name: Counter(tag["id"] for tag in soup(id=True)) for name, soup in soups.items()}
    for name, soup in soups.items():
        assert max(anchors[name].values()) == 1, (name, anchors[name].most_common(1))
        for link in soup("a"):
            parts = urlsplit(link["href"])
            if parts.scheme:
                assert parts.scheme == "https", link
                continue
            target = unquote(parts.path) or name
            assert target in soups and (not parts.fragment or unquote(parts.fragment) in anchors[target]), (name, link)
    for before, after in zip(BOOKS, BOOKS[1:]):
        nexts = [link["href"] for link in soups[f"{before.stem}.html"]("a", rel="next")]
        previous = [link["href"] for link in soups[f"{after.stem}.html"]("a", rel="prev")]
        assert nexts == [f"{after.stem}.html"] * 2 and previous == [f"{before.stem}.html"] * 2
        assert len(soups[f"{before.stem}.html"].main("a", href=f"{after.stem}.html")) >= 1  # the text's own, at its end


def test_the_front_page_lists_every_notebook(built):
    index = (built[0] / "index.html").read_text(encoding="utf-8")
    listed = site_pages.BeautifulSoup(index, "html.parser").select(".notebooks li")
    assert [item.a["href"] for item in listed] == [f"{path.stem}.html" for path in BOOKS]
    for item, path in zip(listed, BOOKS):
        first = nbformat.read(path, 4).cells[0].source.replace("`", "")
        assert f"# {item.a.get_text()}\n" in first and f"**{item.span.get_text()}**" in first
        assert f"\n{item.small.get_text()}" in first and "minutes" in item.small.get_text()
    assert "-m jupyterlab" in index
    assert re.fullmatch(rf"pages/: {len(PAGES)} pages, [1-9]\.\d MB\n", built[1]), built[1]


@pytest.mark.parametrize("name", ["00_a_dream_you_can_play", "07_imagination"])
def test_the_dream_player_lives(built, screen, name):
    """It draws, keys and buttons steer it, and on a phone none of it is cut off."""
    visit(screen, built[0] / f"{name}.html")
    box = screen.locator(".dreamer-player iframe")
    box.scroll_into_view_if_needed()
    frame = box.element_handle().content_frame()
    frame.wait_for_function("typeof player === 'object' && player.frames > 3")
    assert frame.evaluate(
        "document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth"
    )
    ink = "(() => { const c = document.querySelector('#stage'); return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size; })()"
    assert frame.evaluate(ink) > 20  # a blank one has one or two values
    frame.locator("#player").click(position={"x": 20, "y": 10})
    frame.evaluate("player.setMode('you'); player.setPaused(true); player.restart()")
    screen.keyboard.down("ArrowRight")
    assert frame.evaluate("player.wish") == 1
    frame.evaluate("for (let t = 0; t < 6; t++) player.step()")
    screen.keyboard.up("ArrowRight")
    assert frame.evaluate("player.wish") is None and frame.evaluate("player.game.real[1]") > 0.5
    frame.get_by_role("button", name="the agent drives").click()
    frame.evaluate("player.restart(); player.setPaused(false)")
    frame.wait_for_function("player.game.mode === 'agent' && player.game.steps > 8")
    box.screenshot(path=str(SHOTS / f"site_player_{name}_{screen.size}.png"))


def test_where_there_are_controls_in_jupyterlab_a_line_says_so(built):
    explorers = site_pages.shows_controls()
    for path in BOOKS:
        shown = sum(
            bool(explorers.search(cell.source)) for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"
        )
        assert (built[0] / f"{path.stem}.html").read_text(encoding="utf-8").count(site_pages.NOTE) == shown
        assert shown == {"05": 2, "00": 0, "10": 1}.get(path.name[:2], shown)


def write(folder, *cells, first=FIRST, count=1):
    """A folder of one notebook with this first cell, and these code cells, each a source and its outputs."""
    folder.mkdir(exist_ok=True)
    code = [new_code_cell(source, outputs=outputs, execution_count=count) for source, outputs in cells]
    nbformat.write(new_notebook(cells=[new_markdown_cell(first), *code]), folder / "A1_more.ipynb")
    return folder


def test_saved_controls_are_left_out_and_other_files_are_no_dead_links(tmp_path):
    picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
    cell = [
        new_output("display_data", {"image/png": picture, "text/plain": "A dot <here>."}),
        new_output(
            "display_data", {site_pages.CONTROLS: {"model_id": "0"}, "text/plain": "VBox(children=(FloatSlider()))"}
        ),
    ]
    links = "\n\n[code](../dreamer_lite/rssm.py), [a page](https://arxiv.org/abs/2301.04104), [self](A1_more.ipynb#Shapes)\n\n## Shapes"
    site_pages.build(tmp_path / "out", write(tmp_path / "books", ("slider()", cell), first=FIRST + links))
    soup = site_pages.BeautifulSoup((tmp_path / "out" / "A1_more.html").read_text(encoding="utf-8"), "html.parser")
    assert "VBox" not in str(soup) and str(soup).count(site_pages.NOTE) == 1
    assert soup.main.img["alt"] == "A dot <here>." and (tmp_path / "out" / soup.main.img["src"]).is_file()
    assert "code, " in soup.get_text() and soup.title.get_text() == "A1 · More – Dreamer Lite"
    found = [link["href"] for link in soup.main("a") if not link["href"].startswith("index")]
    assert found == ["https://arxiv.org/abs/2301.04104", "A1_more.html#Shapes"] and soup.find(id="Shapes")
    assert "<code>add</code>" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert soup.find("meta", attrs={"name": "description"})["content"] == "After this you can add."


def test_making_it_again_replaces_its_own_files_only(tmp_path):
    books, out = write(tmp_path / "books", ("1", [])), tmp_path / "out"
    site_pages.build(out, books)
    (out / "CNAME").write_text("mine")
    (books / "A1_more.ipynb").rename(books / "A1_other.ipynb")
    site_pages.build(out, books)
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        *("A1_other.html", "index.html", "style.css", "CNAME", site_pages.MADE)
    }


def test_wrong_use_is_told_in_one_line(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    error = new_output("error", ename="E", evalue="e", traceback=[])
    fine = write(tmp_path / "fine", ("1", []))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "A1_more.ipynb").write_text("<<<<<<< ours")
    for folder, books, words in [
        ("full", fine, "is not empty"),
        ("file", fine, "is a file"),
        ("file/in", fine, "can't be written"),
        ("out", write(tmp_path / "blank", ("1", []), count=None), "A1_more.ipynb was not executed"),
        ("out", write(tmp_path / "failed", ("1", [error])), "A1_more.ipynb stopped with an error"),
        ("out", write(tmp_path / "bare", first="# A1"), "A1_more.ipynb: its first cell needs"),
        ("out", write(tmp_path / "far", first=f"{FIRST}\n\n![far](https://a.b/c.png)"), "no file of this repository"),
        ("out", tmp_path / "broken", "can't be read as a notebook"),
    ]:
        with pytest.raises(Refused, match=words) as caught:
            site_pages.build(tmp_path / folder, books)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="^make.py site: [^\n]+ is not empty [^\n]+$"):
        site_pages.make_site(tmp_path / "full")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
