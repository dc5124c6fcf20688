"""The course as web pages, opened from files in a real browser, on a phone and on a desk."""

from base64 import b64decode, b64encode
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
GUIDES = sorted(ROOT.glob("docs/*.md"))
PAGES = ["index", *(path.stem for path in [*BOOKS, *GUIDES])]
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
    touch = request.param == "phone"
    page = browser.new_page(viewport=SIZES[request.param], is_mobile=touch, has_touch=touch)
    page.size = request.param
    yield page
    page.close()


def visit(page, file):
    """Open a page and wait until all of it is there. Returns the addresses it asked for, and its scripts' errors."""
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
    text = screen.locator("body").inner_text()
    for named in (
        "✓ ipywidgets",
        "ipywidgets\tsliders",
    ):  # by the self-check of notebook 00, and in the list of packages
        text = text.replace(named, "")
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


# For each box that scrolls sideways: what is in it, and whether it has an arrow at the start, and at the end.
CUES = """async () => {
  const scrolls = box => ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
  const boxes = [...document.querySelectorAll("main *")].filter(
    box => box.clientWidth && box.scrollWidth > box.clientWidth + 2 && scrolls(box));
  const arrow = box => getComputedStyle(box.parentElement, "::after").content.includes("→");
  const frames = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const rows = [];
  for (const box of boxes) {
    const row = [(box.querySelector("img") || {src: box.innerText}).src.slice(-60), arrow(box) && box.tabIndex === 0];
    box.scrollLeft = box.scrollWidth;
    await frames();
    rows.push([...row, arrow(box)]);
    box.scrollLeft = 0;
  }
  return rows;
}"""


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_what_is_wider_than_the_screen_says_so(built, screen, path):
    """An arrow until you have scrolled to the end; a keyboard can scroll too. On a phone the map is one of these."""
    visit(screen, built[0] / f"{path.stem}.html")
    rows = screen.evaluate(CUES)
    assert all(start and not end for _, start, end in rows), rows
    if screen.size == "phone":
        assert any("map_" in what for what, *_ in rows) and len(rows) > 3, rows
    else:
        drawings = screen.evaluate(
            "[...document.querySelectorAll('img[src$=\".svg\"]')].map(img => img.getBoundingClientRect().right)"
        )
        assert max(drawings) <= SIZES["desk"]["width"]


def test_a_touch_screen_is_told_to_tap(built, screen):
    visit(screen, built[0] / "00_a_dream_you_can_play.html")
    text = screen.locator("main").inner_text()
    keys = re.search(r"[Pp]ress (1|2|3|E)\b", text)
    if screen.size == "phone":
        assert not keys and "Tap the agent drives" in text and "Tap eyes" in text
    else:
        assert keys and not re.search(r"\btap\b", text, re.I)


def test_every_link_leads_somewhere(built):
    """To a page of the site and an anchor that is there, to a picture that is there, or out of the site."""
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
            if target.endswith(site_pages.PICTURES):
                assert (built[0] / target).is_file(), (name, link)
                continue
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
        assert f"# {item.a.get_text()}\n" in first and f"{item.span.get_text()[1:]}**" in first
        assert f"\n{item.small.get_text()}" in first and "minutes" in item.small.get_text()
    guides = site_pages.BeautifulSoup(index, "html.parser").select(".guides li")
    assert sorted(item.a["href"] for item in guides) == [f"{path.stem}.html" for path in GUIDES]
    assert "-m jupyterlab" in index
    assert re.fullmatch(rf"pages/: {len(PAGES)} pages, [1-9]\.\d MB\n", built[1]), built[1]


@pytest.mark.parametrize("name", ["00_a_dream_you_can_play", "07_imagination"])
def test_the_dream_player_lives(built, screen, name):
    """It draws, keys and buttons steer it, and its frame cuts nothing off."""
    visit(screen, built[0] / f"{name}.html")
    box = screen.locator(".dreamer-player iframe")
    box.scroll_into_view_if_needed()
    frame = box.element_handle().content_frame()
    frame.wait_for_function("typeof player === 'object' && player.frames > 3")
    assert frame.evaluate(
        "document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth"
    )
    ink = """(() => {
      const stage = document.querySelector('#stage');
      return new Set(stage.getContext('2d').getImageData(0, 0, stage.width, stage.height).data).size;
    })()"""
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
    """A folder whose notebooks/ holds one notebook: this first cell, then code cells, each a source and its outputs."""
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    code = [new_code_cell(source, outputs=outputs, execution_count=count) for source, outputs in cells]
    nbformat.write(new_notebook(cells=[new_markdown_cell(first), *code]), folder / "notebooks" / "A1_more.ipynb")
    return folder


DOT = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
SPEED = """# Speed

How fast is `train`? Here are the numbers.

| preset | steps |
|---|---|
| small | 12 |

```bash
python -m dreamer_lite train --preset small  # a comment that makes this line much longer than a phone is wide
```

![A dot](../assets/dot.png) [large](../assets/dot.png), [a world](worlds.md#your-own-one-or-two),
[A1](../notebooks/A1_more.ipynb#Shapes), [code](../dreamer_lite/rssm.py), [here](#on-a-cpu).

## On a `CPU`
"""
WORLDS = "# Worlds\n\nMany.\n\n## Your own, one or two\n\n## Your own, one or two\n\n[Back](speed.md)\n"


def test_texts_of_docs_are_pages_too(browser, tmp_path):
    """With tables, coloured code, pictures, and links between texts and notebooks, as GitHub follows them."""
    books = write(tmp_path / "in", ("1", []), first=f"{FIRST}\n\n[fast](../docs/speed.md#on-a-cpu)\n\n## Shapes")
    for name, content in {
        "docs/speed.md": SPEED.encode(),
        "docs/worlds.md": WORLDS.encode(),
        "assets/dot.png": DOT,
    }.items():
        (books / name).parent.mkdir(exist_ok=True)
        (books / name).write_bytes(content)
    out = tmp_path / "out"
    assert site_pages.build(out, books).startswith("out/: 4 pages")
    soups = {
        path.name: site_pages.BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in out.glob("*.html")
    }
    speed, worlds = soups["speed.html"], soups["worlds.html"]
    links = [link["href"] for link in speed.main("a")]
    assert links == ["assets/dot.png", "worlds.html#your-own-one-or-two", "A1_more.html#Shapes", "#on-a-cpu"]
    assert (out / "assets/dot.png").read_bytes() == DOT and speed.main.img["src"] == "assets/dot.png"
    assert [heading["id"] for heading in worlds("h2")] == ["your-own-one-or-two", "your-own-one-or-two-1"]
    assert worlds.main.a["href"] == "speed.html" and speed.find(id="on-a-cpu")
    assert "speed.html#on-a-cpu" in [link["href"] for link in soups["A1_more.html"].main("a")]
    assert [link["href"] for link in worlds("a", rel="prev")] == ["speed.html"] * 2 and not worlds("a", rel="next")
    assert speed.title.get_text() == "Speed – Dreamer Lite" and "JupyterLab" not in speed.main.get_text()
    listed = [
        (item.a.get_text(), item.span.get_text(), item.small) for item in soups["index.html"].select(".guides li")
    ]
    assert listed == [("Speed", "How fast is train?", None), ("Worlds", "Many.", None)]
    page = browser.new_page(viewport=SIZES["phone"], is_mobile=True, has_touch=True)
    page.goto((out / "speed.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and page.locator("td").count() == 2
    page.wait_for_function("document.querySelectorAll('.more').length === 1")  # the long line of code
    colours = page.evaluate(
        "[...document.querySelectorAll('.highlight span')].map(span => getComputedStyle(span).color)"
    )
    assert len(set(colours)) > 1
    page.screenshot(path=str(SHOTS / "site_docs_phone.png"))
    page.close()


def test_saved_controls_are_left_out_and_other_files_are_no_dead_links(tmp_path):
    cell = [
        new_output("display_data", {"image/png": b64encode(DOT).decode(), "text/plain": "A dot <here>."}),
        new_output(
            "display_data", {site_pages.CONTROLS: {"model_id": "0"}, "text/plain": "VBox(children=(FloatSlider()))"}
        ),
    ]
    links = (
        "\n\n[code](../dreamer_lite/rssm.py), [a page](https://arxiv.org/abs/2301.04104), [self](A1_more.ipynb#Shapes)"
    )
    links += "\n\n## Shapes"
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
    (books / "notebooks" / "A1_more.ipynb").rename(books / "notebooks" / "A1_other.ipynb")
    site_pages.build(out, books)
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        *("A1_other.html", "index.html", "style.css", "CNAME", site_pages.MADE)
    }


def test_wrong_use_is_reported_in_one_line(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    error = new_output("error", ename="E", evalue="e", traceback=[])
    fine = write(tmp_path / "fine", ("1", []))
    broken, untitled = write(tmp_path / "broken"), write(tmp_path / "untitled")
    (broken / "notebooks" / "A1_more.ipynb").write_text("<<<<<<< ours")
    (untitled / "docs").mkdir()
    (untitled / "docs" / "speed.md").write_text("No title.")
    for folder, books, words in [
        ("full", fine, "is not empty"),
        ("file", fine, "is a file"),
        ("file/in", fine, "can't be written"),
        ("out", write(tmp_path / "blank", ("1", []), count=None), "A1_more.ipynb was not executed"),
        ("out", write(tmp_path / "failed", ("1", [error])), "A1_more.ipynb stopped with an error"),
        ("out", write(tmp_path / "bare", first="# A1"), "A1_more.ipynb: its first cell needs"),
        (
            "out",
            write(tmp_path / "far", first=f"{FIRST}\n\n![far](https://a.b/c.png)"),
            "not a file of this repository",
        ),
        ("out", broken, "can't be read as a notebook"),
        ("out", untitled, "docs/speed.md: it needs a title"),
    ]:
        with pytest.raises(Refused, match=words) as caught:
            site_pages.build(tmp_path / folder, books)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="^make.py site: [^\n]+ is not empty [^\n]+$"):
        site_pages.make_site(tmp_path / "full")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
