"""Every widget in a real JupyterLab, in a real browser: run all, move a control, see the picture change."""

import json
import os
from pathlib import Path
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

from browsing import SHOTS, browser, frames_per_second  # noqa: F401  browser is a fixture
import nbformat
import pytest
from quick_cells import needed, quick, unprepared
from widgets import WIDGETS

ROOT = Path(__file__).parents[2]
CALLS = {name: [call for _, call in entries] for name, entries in WIDGETS.items()}  # that show a widget


def short(name, calls):
    """The cells of a notebook that these calls need, quick: that all cells run to their end is tested by nbval, and
    once is enough."""
    cells = needed(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells, [*calls, "train_live("])
    for cell in cells:
        cell.source = unprepared(cell.source).replace("updates=400", "updates=25")
        cell.source = quick(cell.source) if "run_card(" not in cell.source else cell.source
    return cells


def write(file, cells):
    book = nbformat.read(ROOT / "notebooks" / "10_cartpole.ipynb", 4)
    book.cells = cells
    nbformat.write(book, file)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of its own, with private settings, in a folder of short notebooks. Yields its address and that
    folder."""
    home, work = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work")
    books = {
        "widgets": [cell for name, calls in CALLS.items() for cell in short(name, calls)],
        "00_a_dream_you_can_play": short("00_a_dream_you_can_play", ["dream_player("]),
        "07_imagination": short("07_imagination", ["dream_player("]),
        "10_cartpole": short("10_cartpole", ["run_card(card)"]),
    }
    for name, cells in books.items():
        write(work / f"{name}.ipynb", cells)
    settings = {
        "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
        "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    for name, content in settings.items():
        file = home / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }
    environment = os.environ | {name: str(home / place) for name, place in places.items()} | {"DREAMER_HOME": str(work)}
    with open(home / "log", "w") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                f"--port={port}",
                "--IdentityProvider.token=test",
                "--allow-root",
                "--expose-app-in-browser",
                f"--ServerApp.root_dir={work}",
                "--KernelManager.shutdown_wait_time=0.2",  # they have nothing to save
            ],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=test")
                break
            except OSError:
                time.sleep(0.25)
        else:
            raise TimeoutError((home / "log").read_text()[-2000:])
        yield f"http://127.0.0.1:{port}/lab?token=test", work
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def opened(browser, lab):
    """A JupyterLab page with an empty workspace."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(60_000)
    begin(page, lab)
    yield page
    page.close()


@pytest.fixture
def page(opened, lab, request):
    """The page, without open notebooks. A test that failed leaves nothing behind: the page is loaded anew after it."""
    failures = request.session.testsfailed
    yield opened
    try:
        shut_down(opened)
    finally:
        if request.session.testsfailed > failures:
            begin(opened, lab)


def begin(page, lab):
    page.goto(f"{lab[0]}&reset")
    page.wait_for_function("window.jupyterapp !== undefined")
    page.evaluate("window.jupyterapp.restored.then(() => true)")


def shut_down(page):
    """Close all notebooks without saving, and end their kernels."""
    page.evaluate(
        """async () => {
            for (const panel of [...jupyterapp.shell.widgets("main")].filter(panel => panel.context)) {
                panel.context.model.dirty = false  // else it asks whether to save
                panel.close()
            }
            await jupyterapp.serviceManager.sessions.shutdownAll()
        }"""
    )


def wait_for(condition, seconds=60):
    """Poll until the condition holds. Returns whether it did."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def open_and_run(page, name):
    """Open a notebook, wait for its kernel, run all cells. Returns the panel."""
    page.evaluate(f"void jupyterapp.commands.execute('docmanager:open', {{path: '{name}.ipynb'}})")
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    panel.locator(".jp-Notebook .jp-Cell").first.wait_for()
    assert wait_for(lambda: idle(page))
    for _ in range(4):  # on a busy machine JupyterLab may drop the command while it still connects to the kernel
        page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
        if wait_for(lambda: panel.locator(".jp-InputPrompt", has_text="*").count(), 15):
            return panel
    raise TimeoutError("the cells do not run")


def test_controls_change_the_picture(page):
    """All widgets in one notebook, so that one kernel is enough."""
    panel = open_and_run(page, "widgets")
    boxes, names = (
        panel.locator(".dreamer-explorer"),
        [f"{name}_{i}" for name in CALLS for i in range(len(CALLS[name]))],
    )
    last = panel.locator(".jp-CodeCell .jp-InputPrompt").last
    assert wait_for(lambda: boxes.count() == len(names) and last.inner_text().strip("[]: ").isdigit(), 600)
    said = panel.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']")
    assert said.count() == 0, said.all_inner_texts()
    for i, name in enumerate(names):
        move_and_look(
            page, boxes.nth(i).locator("xpath=ancestor::div[contains(@class, 'jp-Cell-outputArea')]"), SHOTS / name
        )


@pytest.mark.parametrize("name", ["00_a_dream_you_can_play", "07_imagination"])
def test_the_dream_player_plays_in_its_cell_and_outlives_the_kernel(page, name):
    """Keys steer the cart and edit no cell; no widget, no kernel needed."""
    panel = open_and_run(page, name)
    box = panel.locator(".dreamer-player iframe")
    last = panel.locator(".jp-CodeCell .jp-InputPrompt").last
    assert wait_for(lambda: box.count() == 1 and last.inner_text().strip("[]: ").isdigit(), 300)
    page.evaluate("void jupyterapp.commands.execute('kernelmenu:shutdown')")
    cells = panel.locator(".jp-Cell").count()
    box.scroll_into_view_if_needed()
    frame = box.element_handle().content_frame()
    frame.wait_for_function("typeof player === 'object' && player.frames > 5")
    frame.locator("#player").click(position={"x": 20, "y": 10})
    frame.evaluate("player.setPaused(true); player.restart()")
    page.keyboard.press("1")
    page.keyboard.down("ArrowRight")
    frame.evaluate("for (let t = 0; t < 6; t++) player.step()")
    page.keyboard.up("ArrowRight")
    real, dreamed = frame.evaluate("[player.game.real[1], player.game.shown[0][1]]")
    assert real > 0.5 and dreamed > 0.3
    for key in ("d", "a", "b", "x", "ArrowDown"):  # in a notebook, some of these delete or add cells
        page.keyboard.press(key)
    assert panel.locator(".jp-Cell").count() == cells
    box.screenshot(path=str(SHOTS / f"{name}_player.png"))
    frame.evaluate("player.setPaused(false); player.setMode('agent')")
    rate = frames_per_second(page, frame)
    print(f"{name}: {rate:.0f} frames/s")
    assert rate > 10  # alone on two cores it is 60; other tests may run beside this one


def test_progress_is_drawn_and_survives_a_restart(page, lab):
    """A right answer is marked on the map of the agent; after a restart the set-up cell still knows it."""
    cells = [
        'import torch\n\nfrom dreamer_lite.course import check, keep, setup\n\nsetup("02")',
        "def symlog(x):\n    return torch.sign(x) * torch.log1p(x.abs())\n\n\nsymlog = check(symlog)\nkeep(symlog)",
    ]
    write(lab[1] / "mine.ipynb", [nbformat.v4.new_code_cell(cell) for cell in cells])
    try:
        panel = open_and_run(page, "mine")
        assert wait_for(lambda: panel.get_by_text("symlog: kept").count() > 0)
        assert panel.get_by_text("where you are").count() == 0
        shut_down(page)
        begin(page, lab)
        panel = open_and_run(page, "mine")
        assert wait_for(lambda: panel.get_by_text("where you are").count() == 1)
        told = panel.locator(".jp-OutputArea-output", has_text="where you are")
        assert "Right: 1 of 54 exercises. Kept: 1 of the 24" in told.inner_text() and "symexp" in told.inner_text()
        drawn = told.locator("img")
        assert "symlog 1 of 4" in drawn.get_attribute("alt")
        assert wait_for(lambda: drawn.evaluate("image => image.complete && image.naturalWidth > 0"))
        told.screenshot(path=str(SHOTS / "progress.png"))
    finally:
        shutil.rmtree(lab[1] / "my_parts", ignore_errors=True)


def test_training_is_live_stops_when_interrupted_and_goes_on(page, lab):
    """Notebook 10: the dashboard moves; interrupting the kernel saves; running the cell again goes on where it was."""
    card = lab[1] / "my_run" / "card.json"
    panel = open_and_run(page, "10_cartpole")
    cell = panel.locator(".jp-CodeCell", has_text="train_live(config")
    picture = cell.locator(".jp-OutputArea img")

    def watch_and_interrupt(shot):
        shown = set()
        assert wait_for(
            lambda: picture.count() == 1 and (shown.add(picture.get_attribute("src")) or len(shown) > 5), 120
        ), "the dashboard stands still"
        picture.scroll_into_view_if_needed()
        picture.screenshot(path=str(SHOTS / f"10_cartpole_{shot}.png"))
        before = card.stat().st_mtime if card.exists() else 0
        page.evaluate("void jupyterapp.commands.execute('notebook:interrupt-kernel')")
        assert wait_for(lambda: card.exists() and card.stat().st_mtime > before, 60), "the run was not saved"
        return json.loads(card.read_text())

    first = watch_and_interrupt("first")
    assert not first["finished"] and first["env_steps"] > 250
    assert wait_for(lambda: panel.get_by_text("the run was interrupted").count() > 0), (
        "the next cell does not say what to do"
    )
    assert wait_for(lambda: idle(page))
    cell.locator(".jp-InputArea-editor").click()
    page.evaluate("void jupyterapp.commands.execute('notebook:run-cell')")
    assert wait_for(lambda: cell.locator(".jp-InputPrompt").inner_text().strip() == "[*]:")
    second = watch_and_interrupt("second")
    assert second["env_steps"] > first["env_steps"] and second["train_steps"] > first["train_steps"]


def idle(page):
    return page.evaluate("jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status") == "idle"


def settle(page, picture):
    """Wait until no late update comes any more, so that the next change is the next control's."""
    last = None
    while last != (last := picture.get_attribute("src")) or not idle(page):
        time.sleep(0.1)


def move_and_look(page, area, shot):
    """Press a key on each slider and each button of a widget; its picture and its sentence must follow."""
    picture, status = area.locator("img").first, area.locator(".dreamer-status")
    picture.scroll_into_view_if_needed()
    area.screenshot(path=f"{shot}_before.png")
    controls = [
        *area.locator(".noUi-handle").all(),
        *area.locator(".widget-button").all()[:1],
        *area.locator(".widget-toggle-buttons").locator("button:not(.mod-active)").all()[:1],
        *area.locator(".widget-checkbox input").all()[:1],
    ]
    assert controls
    handles = area.locator(".noUi-handle").all()
    assert wait_for(lambda: all(handle.get_attribute("aria-label") for handle in handles), 10), "a slider has no name"
    for control in controls:
        before = picture.get_attribute("src")
        control.focus()
        kind = control.get_attribute("class") or control.get_attribute("type")
        arrow = (
            "ArrowLeft"
            if control.get_attribute("aria-valuenow") == control.get_attribute("aria-valuemax")
            else "ArrowRight"
        )
        for key in [arrow] * 3 if "noUi" in kind else ["Space"] if kind == "checkbox" else ["Enter"]:
            control.press(key)
        assert wait_for(lambda: picture.get_attribute("src") != before, 60), f"{shot.name}: the picture did not change"
        settle(page, picture)
    assert status.inner_text().strip() and "can't be drawn" not in status.inner_text()
    area.screenshot(path=f"{shot}_after.png")
