#!/usr/bin/env bash
# RLlib's initializer for DreamerV3 computes the standard deviation of a truncated normal, which is widened by 1.14 to make
# up for the cut at two standard deviations, but draws from a plain normal and clamps at ±2 absolute, where no weight comes
# near. So weights start 14 % wider than intended, with tails that the cut should have removed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0
"$folder/venv/bin/pip" install --quiet "ray[rllib]==2.60.0" pillow
cat > "$folder/show.py" <<'PYTHON'
import math

import ray
from ray.rllib.algorithms.dreamerv3.torch.models.components import dreamerv3_normal_initializer
import torch

print("ray", ray.__version__, "torch", torch.__version__.split("+")[0])
torch.manual_seed(0)
weight = torch.nn.Parameter(torch.empty(512, 512))
dreamerv3_normal_initializer([weight])
wanted = 1 / math.sqrt((512 + 512) / 2)  # fan "avg"
print(f"standard deviation: {weight.std() / wanted:.2f} of the one aimed at")
beyond = (weight.abs() > 2 * 1.1368 * wanted).float().mean()
print(f"beyond the cut at two standard deviations: {beyond:.1%}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/show.py" 2> /dev/null | tee "$folder/seen"
cat > "$folder/expected" <<'SEEN'
ray 2.60.0 torch 2.13.0
standard deviation: 1.14 of the one aimed at
beyond the cut at two standard deviations: 4.5%
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
