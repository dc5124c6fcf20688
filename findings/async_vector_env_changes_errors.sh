#!/usr/bin/env bash
# Gymnasium's AsyncVectorEnv raises an environment's error again in the main process, made anew from its type and its text. An
# error whose type wants more than a text, such as a JSONDecodeError, arrives as a TypeError, and its attributes are lost.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.3.5
cat > "$folder/show.py" <<'PYTHON'
import json

import gymnasium
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
import numpy as np


class Remote(gymnasium.Env):
    """Reads an answer that is no JSON."""

    observation_space, action_space = Box(-1, 1, (1,)), Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        json.loads("busy")


if __name__ == "__main__":
    print("gymnasium", gymnasium.__version__)
    for kind in (SyncVectorEnv, AsyncVectorEnv):
        envs = kind([Remote, Remote])
        envs.reset(seed=0)
        try:
            envs.step(np.zeros(2, int))
        except Exception as error:
            print(f"{kind.__name__}: {type(error).__name__}, a JSONDecodeError: {isinstance(error, json.JSONDecodeError)}")
        envs.close()
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/show.py" 2> /dev/null | tee "$folder/seen"
cat > "$folder/expected" <<'SEEN'
gymnasium 1.4.0
SyncVectorEnv: JSONDecodeError, a JSONDecodeError: True
AsyncVectorEnv: TypeError, a JSONDecodeError: False
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
