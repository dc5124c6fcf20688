"""The dream player of notebook 00: one press, one step, in reality and in the dream."""

import numpy as np
import torch
from matplotlib.figure import Figure

from ..draw import draw_cart
from ..envs import make_envs
from ..rssm import State
from .bundled import bundled_agent
from .explore import DREAM, GREY, REALITY, Explorer, button, canvas, tidy

LIMITS = np.array([2.4, 3.0, 0.21, 3.0])  # the range of each number that matters in an episode


class Game:
    """One cart in reality, one in the dream, moved by the same actions. Replayed from the start for every picture, so that the
    picture depends on the presses alone."""

    def __init__(self, seed: int = 0):
        self.agent, self.seed = bundled_agent(), seed

    @torch.no_grad()
    def play(self, actions: list[int | None], looks: set[int] = frozenset()) -> tuple[np.ndarray, np.ndarray, bool]:
        """Observations real and dreamed, (T, 4) each, for actions 0, 1 or None (the agent's own choice, made on reality).

        The dream looks at reality at step 0 and at the steps in `looks`, else it goes on alone. Third: whether it is over.
        """
        agent, envs = self.agent, make_envs("CartPole-v1", 1, 500_000 + self.seed)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            carry = agent.initial(1)
            row = envs.step(np.zeros((1, 2), np.float32))
            carry = agent.act(torch.as_tensor(row.obs), torch.as_tensor(row.is_first), carry)
            dream, real, dreamed, over = carry.state, [row.obs[0]], [self.decode(carry.state)], False
            for t, wish in enumerate(actions, 1):
                if over:
                    break
                action = carry.action if wish is None else torch.eye(2)[[wish]]
                row = envs.step(action.numpy())
                carry = agent.act(torch.as_tensor(row.obs), torch.as_tensor(row.is_first), carry._replace(action=action))
                dream = carry.state if t in looks else agent.world_model.rssm.imagine_step(dream, action)
                real.append(row.obs[0])
                dreamed.append(self.decode(dream))
                over = bool(row.is_last[0])
        envs.close()
        return np.stack(real), np.stack(dreamed), over

    def decode(self, state: State) -> np.ndarray:
        return self.agent.world_model.predict_obs(state.feature)[0].numpy()


def draw_game(real: np.ndarray, dreamed: np.ndarray) -> Figure:
    """Two carts side by side, and how far they have drifted apart, step by step."""
    figure = canvas(7.5, 3.6)
    grid = figure.add_gridspec(2, 2, height_ratios=(2.2, 1))
    for column, (name, obs, colour) in enumerate((("reality", real[-1], REALITY), ("dream", dreamed[-1], DREAM))):
        axes = figure.add_subplot(grid[0, column])
        draw_cart(axes, obs, colour)
        axes.set_title(name, color=colour)
    axes = tidy(figure.add_subplot(grid[1, :]), xlabel="step", ylabel="drift", ylim=(0, 1.05), xlim=(0, max(20, len(real))))
    axes.plot(drift(real, dreamed), color=DREAM, marker=".")
    axes.axhline(0.2, color=GREY, linestyle=":", linewidth=1)
    return figure


def drift(real: np.ndarray, dreamed: np.ndarray) -> np.ndarray:
    """Mean distance of the four numbers, each in units of its range, at most 1. (T, 4), (T, 4) → (T,)."""
    return np.minimum(np.abs(real - dreamed) / LIMITS, 1).mean(-1)


class Player(Explorer):
    """Buttons: left, right, ten steps of the agent, look again, start again. Every press is one entry of a list."""

    def __init__(self, seed: int = 0):
        self.game = Game(seed)
        self.presses: list[str] = ["agent"]
        super().__init__(self.picture_of, "A cart in reality beside the same cart in the dream.", left=button("← push left"),
                         right=button("push right →"), agent=button("ten steps of the agent"), look=button("let the dream look"),
                         again=button("start again"))

    def click(self, name: str) -> None:
        self.presses = [] if name == "again" else [*self.presses, name]
        super().click(name)

    def picture_of(self, **_: int) -> tuple[Figure, str]:
        actions: list[int | None] = []
        looks = set()
        for press in self.presses:
            if press == "look":
                looks.add(len(actions))
            else:
                actions += {"left": [0], "right": [1], "agent": [None] * 10}[press]
        real, dreamed, over = self.game.play(actions, looks)
        apart = drift(real, dreamed)[-1]
        text = f"Step {len(real) - 1}: reality and dream are {apart:.2f} of their range apart."
        return draw_game(real, dreamed), text + (" The episode is over; start again." if over else "")


def dream_player(seed: int = 0) -> Player:
    """Play CartPole, and watch the world model dream along. Buttons work by mouse, touch, and by Tab and Enter."""
    return Player(seed)
