#!/usr/bin/env bash
# Gymnasium's AddRenderObservation resets the environment, without a seed, when it is made. What an environment builds
# at its first reset only (a level, a palette, a figure) is then different in each process, whatever seed later resets get.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.3.5
cat > "$folder/show.py" <<'PYTHON'
import gymnasium
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import AddRenderObservation
import numpy as np


class Level(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space, action_space = Box(0, 1, (1,)), Discrete(2)
    render_mode, level = "rgb_array", None

    def __init__(self):
        self.seeds = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        if self.level is None:
            self.level = self.np_random.integers(0, 255, (8, 8, 3), np.uint8)
        return np.zeros(1, np.float32), {}

    def render(self):
        return self.level


def first_picture(wrap):
    env = wrap(Level())
    env.reset(seed=0)
    return env.unwrapped.seeds, env.unwrapped.level


print("gymnasium", gymnasium.__version__)
for name, wrap in (("as it is", lambda env: env), ("AddRenderObservation", AddRenderObservation)):
    (seeds, one), (_, two) = first_picture(wrap), first_picture(wrap)
    print(f"{name}: resets with the seeds {seeds}; two copies with seed 0 show the same picture: {(one == two).all()}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/show.py" | tee "$folder/seen"
cat > "$folder/expected" <<'SEEN'
gymnasium 1.4.0
as it is: resets with the seeds [0]; two copies with seed 0 show the same picture: True
AddRenderObservation: resets with the seeds [None, 0]; two copies with seed 0 show the same picture: False
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
