"""Figures with controls: a pure function draws, ipywidgets set its arguments, the figure is an ordinary output.

The figure comes first, as a plain PNG with alternative text. It stays in the saved notebook and after a
kernel restart; only the controls need a kernel.
"""

from base64 import b64encode
from collections.abc import Callable
from html import escape
import io
import threading
from typing import Any

from IPython.display import display
import ipywidgets as widgets
from matplotlib.figure import Figure
from PIL import Image
import torch

from ..evaluation.drawing import DREAM, GREY, REALITY, pixels  # noqa: F401  (all figures take their colours from here)

POSTERIOR, OWN = "#009E73", "#AA4499"  # with REALITY and DREAM: colour-blind safe, and the same everywhere


def png(figure: Figure, dpi: int = 90) -> bytes:
    """The figure as PNG bytes. Drawn without pyplot, so callbacks on other threads are safe. With at most 256
    colours, which makes notebooks less than half as large at no visible cost."""
    figure.set_dpi(dpi)
    small = io.BytesIO()  # not savefig, which would lay the figure out twice
    Image.fromarray(pixels(figure)).quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()


def bundle(data: bytes, alt: str) -> dict[str, Any]:
    """The arguments of `display` for a PNG with alternative text."""
    return {"data": {"image/png": b64encode(data).decode(), "text/plain": alt}, "metadata": {"image/png": {"alt": alt}}}


def show(figure: Figure, alt: str) -> None:
    """Display a figure with its alternative text."""
    picture = bundle(png(figure), alt)
    display(picture["data"], metadata=picture["metadata"], raw=True)


def canvas(width: float = 7.0, height: float = 3.0) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Any, **labels: Any) -> Any:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(**labels)
    return axes


class Explorer:
    """A figure and its controls. `draw(**values)` returns a figure and one sentence that reads it.

    A button's value is its number of clicks. `png` and `text` hold what is shown now.
    """

    def __init__(self, draw: Callable[..., tuple[Figure, str]], alt: str, **controls: widgets.Widget):
        self.draw, self.alt, self.controls = draw, alt, controls
        self.clicks = {name: 0 for name, control in controls.items() if isinstance(control, widgets.Button)}
        self.status = widgets.HTML(layout={"width": "auto", "max_width": "100%"})
        self.status.add_class("dreamer-status")
        self.lock, self.handle = threading.Lock(), None
        for name, control in controls.items():
            control.tooltip = control.tooltip or control.description
            if isinstance(control, widgets.Button):
                control.on_click(lambda _, name=name: self.click(name))
            else:
                control.observe(lambda _: self.update(), "value")
        self.update()

    def click(self, name: str) -> None:
        self.clicks[name] += 1
        self.update()

    def update(self) -> None:
        """Redraw for the current values.

        If that fails, the error appears below the figure, and the old figure stays.
        """
        values = {
            name: self.clicks[name] if name in self.clicks else control.value for name, control in self.controls.items()
        }
        with self.lock, torch.no_grad(), torch.random.fork_rng():
            try:
                figure, self.text = self.draw(**values)
                self.png = png(figure)
            except Exception as error:
                if not hasattr(self, "png"):
                    raise
                self.text = f"This can't be drawn: {error}"
            self.status.value = f"{NAMES}<span role='status' style='{WRAP}'>{escape(self.text, quote=False)}</span>"
            if self.handle is not None:
                picture = self.picture()
                self.handle.update(picture["data"], metadata=picture["metadata"], raw=True)

    def picture(self) -> dict[str, Any]:
        return bundle(self.png, f"{self.alt} {self.text}")

    def _ipython_display_(self) -> None:
        picture = self.picture()
        self.handle = display(picture["data"], metadata=picture["metadata"], raw=True, display_id=True)
        buttons = [self.controls[name] for name in self.clicks]
        boxes = [control for control in self.controls.values() if isinstance(control, widgets.Checkbox)]
        others = [
            control for name, control in self.controls.items() if name not in self.clicks and control not in boxes
        ]
        rows = [*others, widgets.HBox(boxes, layout=WRAPPED), widgets.HBox(buttons, layout=WRAPPED), self.status]
        below = widgets.VBox(rows)
        below.add_class("dreamer-explorer")
        display(below)


def slider(label: str, low: float, high: float, value: float, step: float = 0.1) -> widgets.FloatSlider:
    """A labelled slider; the arrow keys move it, too."""
    return widgets.FloatSlider(value, min=low, max=high, step=step, description=label, continuous_update=False, **WIDE)


def whole(label: str, low: int, high: int, value: int, step: int = 1) -> widgets.IntSlider:
    return widgets.IntSlider(value, min=low, max=high, step=step, description=label, continuous_update=False, **WIDE)


def choice(label: str, options: list, value: Any = None) -> widgets.ToggleButtons:
    return widgets.ToggleButtons(
        options=options,
        value=value or options[0],
        description=label,
        tooltips=[f"{label}: {option[0] if isinstance(option, tuple) else option}" for option in options],
        style={"description_width": "initial", "button_width": "auto"},
    )


def box(label: str) -> widgets.Checkbox:
    """A checkbox."""
    return widgets.Checkbox(False, description=label, indent=False, layout={"width": "auto"})


def button(label: str) -> widgets.Button:
    return widgets.Button(description=label, layout={"width": "auto"})


WIDE = {"style": {"description_width": "14em"}, "layout": {"width": "38em", "max_width": "100%"}}
# ipywidgets leaves a slider's handle without a name for screen readers, so the visible label is copied to it.
NAMES = """<style onload="for (const row of this.closest('.dreamer-explorer').querySelectorAll('.widget-slider'))
row.querySelector('[role=slider]').setAttribute('aria-label', row.querySelector('label').textContent)"></style>"""
WRAP, WRAPPED = "white-space: pre-wrap; overflow-wrap: anywhere", {"flex_flow": "row wrap"}
