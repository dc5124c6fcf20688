"""The play loop: the agent observes and chooses, and the environments take a step."""

from collections.abc import Iterator, Sequence

from ..agent import Carry, Dreamer
from ..envs.stepping import Envs
from ..replay import Experience


def play_step(
    agent: Dreamer, envs: Envs, carry: Carry, greedy: bool = False, which: Sequence[int] | None = None
) -> tuple[Experience, Carry]:
    """Take the actions in `carry`, (E, A); then observe and choose the next ones.

    which: the numbers of the environments to step, by default all. Returns the step, tensors (E, …) on the agent's
    device, and the agent's new carry. Gotcha: an environment whose episode is over resets instead, so the very first
    step is a reset.
    """
    actions = carry.action.cpu().numpy()
    step = (envs.step(actions) if which is None else envs.step(actions, which)).to(agent.device)
    return step, agent.act(step.obs, step.is_first, carry, greedy)


def rollout(agent: Dreamer, envs: Envs, steps: int, greedy: bool = False) -> Iterator[tuple[Experience, Carry]]:
    """Play `steps` steps in every environment, across the ends of episodes; yields what `play_step` returns."""
    carry = agent.initial(len(envs))
    for _ in range(steps):
        step, carry = play_step(agent, envs, carry, greedy)
        yield step, carry
