#!/usr/bin/env bash
# Gymnasium's BipedalWalker draws the next of its lidar rays at each call of render(). Two images of the same state differ, and
# what an agent sees in images depends on how often somebody else has drawn the environment.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 numpy==2.3.5 box2d==2.3.10 pygame==2.6.1
cat > "$folder/show.py" <<'PYTHON'
import gymnasium
import numpy as np

print("gymnasium", gymnasium.__version__)
for name in ("BipedalWalker-v3", "LunarLander-v3"):
    env = gymnasium.make(name, render_mode="rgb_array")
    env.reset(seed=0)
    first, second = env.render(), env.render()
    print(f"{name}: two images without a step between them are equal: {np.array_equal(first, second)}")
PYTHON
SDL_VIDEODRIVER=dummy PYGAME_HIDE_SUPPORT_PROMPT=1 "$folder/venv/bin/python" -W ignore "$folder/show.py" | tee "$folder/seen"
cat > "$folder/expected" <<'SEEN'
gymnasium 1.4.0
BipedalWalker-v3: two images without a step between them are equal: False
LunarLander-v3: two images without a step between them are equal: True
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
