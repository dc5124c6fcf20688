"""Have `torch.compile` fuse the two recurrent cells of an agent."""

import time

import torch

from ..agent import Dreamer
from ..config import Refused
from ..imagination import imagine
from .device import fork_rng


def compile_cells(agent: Dreamer) -> float:
    """Have the recurrent step and the imagined step compiled, now; returns the seconds it took.

    The loops over these cells stay as they are: to compile them too takes many minutes. Acting stays uncompiled, since every
    number of environments would be compiled anew. Raises Refused where nothing can be compiled.
    """
    rssm, c, began = agent.world_model.rssm, agent.config, time.perf_counter()
    how = {"dynamic": False, "options": {"fallback_random": True}}  # the dice of the uncompiled cells
    # Methods of classes of their own, not of this instance, so that a copy of the agent has its own weights.
    cells = {name: torch.compile(getattr(type(rssm), name), **how) for name in ("recurrent", "imagine_step")}
    rssm.__class__ = type("CompiledRSSM", (type(rssm),), cells)
    eager = {"act": torch.compiler.set_stance("force_eager")(type(agent).act)}
    agent.__class__ = type("CompiledDreamer", (type(agent),), eager)
    batch, dreams = agent.initial(c.batch_size), agent.initial(c.batch_size * (c.imag_last or c.seq_len))
    obs, actions = (
        batch.action.new_zeros(c.batch_size, c.seq_len, size) for size in (agent.spaces.obs_size, agent.spaces.action_size)
    )
    try:  # each cell once, in the sizes and with the gradients of a train step
        with fork_rng(obs.device):
            states, _ = agent.world_model.observe(obs, actions, obs[..., 0] > 0, batch.state)
            states.h.sum().backward()
            imagine(agent.world_model, agent.actor, dreams.state, 2)
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise Refused(
            f"nothing can be compiled here ({str(error).splitlines()[0][:200]}); leave --compile off, or install a C++ compiler such as g++"
        ) from error
    return time.perf_counter() - began
