#!/usr/bin/env bash
# Jumanji's JumanjiToGymWrapper reports an episode that is really over as terminated and truncated at once; code that asks
# for `truncated` first goes on to count future rewards. Its `unwrapped` is Jumanji's own environment, so gymnasium.make,
# which leaves its spec there, fails on it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jumanji==1.1.2 gymnasium==1.4.0 numpy==2.3.5 jax==0.10.2 jaxlib==0.10.2
cat > "$folder/show.py" <<'PYTHON'
from importlib.metadata import version

import gymnasium
import jumanji
from jumanji.wrappers import JumanjiToGymWrapper

print("jumanji", version("jumanji"), "gymnasium", gymnasium.__version__)
env = JumanjiToGymWrapper(jumanji.make("Snake-v1"))
env.reset(seed=0)
over = False
while not over:
    _, _, terminated, truncated, _ = env.step(0)  # always up, into the wall
    over = terminated or truncated
print(f"the snake is dead: terminated {terminated}, truncated {truncated}")
print("unwrapped is a gymnasium.Env:", isinstance(env.unwrapped, gymnasium.Env))
gymnasium.register("Snake-v1", lambda: JumanjiToGymWrapper(jumanji.make("Snake-v1")))
try:
    gymnasium.make("Snake-v1")
except AssertionError:
    print("gymnasium.make: AssertionError")
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore "$folder/show.py" | tee "$folder/seen"
cat > "$folder/expected" <<'SEEN'
jumanji 1.1.2 gymnasium 1.4.0
the snake is dead: terminated True, truncated True
unwrapped is a gymnasium.Env: False
gymnasium.make: AssertionError
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
