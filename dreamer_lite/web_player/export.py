"""The dream player: a trained CartPole agent as one web page, which needs no server, no network and no Python."""

from base64 import b64encode
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..agent import Dreamer
from ..config import Spaces
from ..errors import Refused
from ..evaluation.dreams import plain_cartpole

HERE = Path(__file__).parent
KINDS = {"float32": np.float32, "float16": np.float16}


def player_data(agent: Dreamer, kind: str = "float32", mode: str = "agent") -> dict[str, Any]:
    """What dream.js needs of an agent: its sizes, and all weights as one base64 text.

    kind: "float32", or "float16" for half the size. mode: who acts when the page opens: "you", "agent" or "inside".
    Raises Refused unless the agent plays CartPole, the only physics the player knows.
    """
    c = agent.config
    if not plain_cartpole(c) or agent.spaces != Spaces(4, 2, True):
        made = ", wrapped" if c.wrap else ", made by a function" if c.env_from_function else ""
        raise Refused(
            f"the dream player knows the physics of CartPole only; this agent plays {c.env}{made}, where it "
            f"{agent.spaces}. Draw its dreams instead: python -m dreamer_lite dream RUN"
        )
    tensors, numbers = packed_weights(agent, kind)
    sizes = {
        "deter": c.deter,
        "blocks": c.blocks,
        "groups": c.groups,
        "classes": c.classes,
        "mix": agent.world_model.rssm.mix,
        "discountHorizon": c.discount_horizon,
    }
    sizes["layers"] = {
        "encoder": c.encoder_layers,
        "decoder": c.decoder_layers,
        "core": c.core_layers,
        "prior": c.prior_layers,
        "posterior": c.posterior_layers,
        "reward": c.reward_layers,
        "head": c.head_layers,
    }
    return {
        "config": sizes,
        "mode": mode,
        "kind": kind,
        "tensors": tensors,
        "numbers": b64encode(numbers.tobytes()).decode(),
    }


def packed_weights(agent: Dreamer, kind: str) -> tuple[dict[str, list[int]], np.ndarray]:
    """All weights and the bins as one vector; for each name, where its values begin in it, and their shape."""
    model = agent.world_model
    named = {
        **model.state_dict(),
        **{f"actor.{name}": value for name, value in agent.actor.state_dict().items()},
        "bins": model.bins,
    }
    arrays = {name: value.detach().cpu().numpy().copy() for name, value in named.items()}
    tensors, offset = {}, 0
    for name, array in arrays.items():
        # The outer bins don't fit into float16; CartPole's rewards are far inside.
        if kind == "float16" and np.abs(array).max() > 6e4:
            array = arrays[name] = np.clip(array, -6e4, 6e4)
        tensors[name] = [offset, *array.shape]
        offset += array.size
    flat = np.concatenate([array.ravel() for array in arrays.values()])
    return tensors, flat.astype("<" + np.dtype(KINDS[kind]).str[1:])


def player_page(agent: Dreamer, kind: str = "float32", mode: str = "agent") -> str:
    """The whole page as HTML. Raises as `player_data` does."""
    page = (HERE / "player.html").read_text(encoding="utf-8")
    parts = {
        "/*DREAM_JS*/": (HERE / "dream.js").read_text(encoding="utf-8"),
        "/*DATA*/": json.dumps(player_data(agent, kind, mode)),
        "/*PLAYER_JS*/": (HERE / "player.js").read_text(encoding="utf-8"),
    }
    for place, text in parts.items():
        page = page.replace(place, text.replace("</", "<\\/") if place == "/*DATA*/" else text)
    return page
