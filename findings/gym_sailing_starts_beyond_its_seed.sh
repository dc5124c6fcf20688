#!/usr/bin/env bash
# gym-sailing seeds the boat's heading alone. Its position, speed and turn come from NumPy's global random state, so the same
# seed begins two different episodes, and seeding NumPy's global state is what makes them equal.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gym-sailing==0.2.1 gymnasium==1.4.0 numpy==2.3.5
cat > "$folder/show.py" <<'PYTHON'
from importlib.metadata import version

import gym_sailing  # noqa: F401  registers Sailboat-v0
import gymnasium
import numpy as np

print("gym-sailing", version("gym-sailing"))
env = gymnasium.make("Sailboat-v0")
env.reset(seed=0)
for words, seed_numpy in (("same seed", lambda: None), ("same seed, and np.random.seed(0)", lambda: np.random.seed(0))):
    starts = []
    for _ in range(2):
        seed_numpy()
        starts.append(env.reset(seed=0)[0])
    print(f"{words}: two first observations are equal: {np.array_equal(*starts)}")
PYTHON
PYGAME_HIDE_SUPPORT_PROMPT=1 "$folder/venv/bin/python" -W ignore "$folder/show.py" | tee "$folder/seen"
cat > "$folder/expected" <<'SEEN'
gym-sailing 0.2.1
same seed: two first observations are equal: False
same seed, and np.random.seed(0): two first observations are equal: True
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
