"""The dream player inside a notebook: it runs in the browser, so it needs no kernel, and outlives one."""

from base64 import b64encode
import json

from IPython.display import display

from ..evaluation.drawing import filmstrip
from ..evaluation.dreams import open_loop
from ..web_player.export import player_page
from .bundled import bundled_agent
from .explore import png

HEIGHT = 740  # pixels of the frame: all of it is in view in JupyterLab in a window of 1400 × 900

# Where scripts are stripped, the image stays. Where they run, a frame with the page replaces it: a frame, so that keys
# pressed in it never reach the notebook.
HTML = """<div class="dreamer-player" data-mode="{mode}">\
<img alt="{alt}" src="data:image/png;base64,{picture}" style="max-width:100%"></div>
<script>
for (const box of document.querySelectorAll('.dreamer-player[data-mode="{mode}"]')) {{
  if (box.querySelector("iframe")) continue;
  const frame = document.createElement("iframe");
  frame.title = "The dream player";
  frame.style.cssText = "width:100%;max-width:880px;height:{height}px;border:0";
  frame.srcdoc = {page};
  box.replaceChildren(frame);
}}
</script>"""


def dream_player(mode: str = "you") -> None:
    """Show the dream player. mode: who acts at first, "you", "agent" or "inside"; the player can change it."""
    agent = bundled_agent()
    pair = open_loop(agent, agent.config.env, steps=60, seed=3)
    alt = "A filmstrip: a cart in reality above, the dream of it below. Where scripts run, this is the dream player."
    page = json.dumps(player_page(agent, "float16", mode)).replace("</", "<\\/").replace("<!--", "<\\!--")
    html = HTML.format(
        mode=mode, alt=alt, picture=b64encode(png(filmstrip(pair), dpi=70)).decode(), page=page, height=HEIGHT
    )
    display({"text/html": html, "text/plain": alt}, raw=True)
