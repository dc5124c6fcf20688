"""The dream player: a trained CartPole agent as one web page, which needs no server, no network and no Python."""

from base64 import b64encode
import json
from pathlib import Path
from typing import Any

import numpy as np

from .agent import Dreamer

PLAYER = Path(__file__).parent / "player"
KINDS = {"float32": np.float32, "float16": np.float16}


def player_data(agent: Dreamer, kind: str = "float32", mode: str = "agent") -> dict[str, Any]:
    """What dream.js needs of an agent, with its averaged weights: sizes, and all weights as one base64 text.

    kind: "float32", or "float16" for half the size. mode: who acts when the page opens: "you", "agent" or "inside".
    Raises ValueError for an agent that the player can't play: it knows the physics of CartPole only.
    """
    c = agent.config
    if not c.env.startswith("CartPole-") or agent.observation != 4 or not agent.discrete or agent.actions != 2:
        raise ValueError(f"the dream player knows the physics of CartPole only; this agent plays {c.env} with {agent.observation} "
                         f"numbers and {agent.actions} {'discrete' if agent.discrete else 'continuous'} actions. Look at its dreams with: "
                         "python -m dreamer_lite dream RUN")
    model = agent.world_model
    with agent.averaged():
        named = {name: value for name, value in model.state_dict().items()}
        named |= {f"actor.{name}": value for name, value in agent.actor.state_dict().items()} | {"bins": model.bins}
        arrays = {name: value.detach().cpu().numpy().copy() for name, value in named.items()}
    tensors, offset = {}, 0
    for name, array in arrays.items():
        if kind == "float16" and np.abs(array).max() > 6e4:  # the outer bins don't fit; no reward of CartPole is there
            array = arrays[name] = np.clip(array, -6e4, 6e4)
        tensors[name] = [offset, *array.shape]
        offset += array.size
    numbers = np.concatenate([array.ravel() for array in arrays.values()]).astype("<" + np.dtype(KINDS[kind]).str[1:])
    sizes = {"deter": c.deter, "blocks": c.blocks, "groups": c.latent_dim, "classes": c.classes, "layers": c.layers,
             "headLayers": c.head_layers, "mix": model.rssm.mix, "horizon": c.discount_horizon}
    return {"config": sizes, "mode": mode, "kind": kind, "tensors": tensors, "numbers": b64encode(numbers.tobytes()).decode()}


def player_page(agent: Dreamer, kind: str = "float32", mode: str = "agent") -> str:
    """The whole page as HTML. Raises as `player_data` does."""
    page = (PLAYER / "player.html").read_text(encoding="utf-8")
    parts = {"/*DREAM_JS*/": (PLAYER / "dream.js").read_text(encoding="utf-8"), "/*DATA*/": json.dumps(player_data(agent, kind, mode)),
             "/*PLAYER_JS*/": (PLAYER / "player.js").read_text(encoding="utf-8")}
    for place, text in parts.items():
        page = page.replace(place, text.replace("</", "<\\/") if place == "/*DATA*/" else text)
    return page
