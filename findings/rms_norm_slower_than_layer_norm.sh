#!/usr/bin/env bash
# RMS norm leaves out what layer norm subtracts and adds, and is used because it is cheaper. PyTorch's own takes several times as long
# on a CPU, forward and backward: layer norm is one kernel there, RMS norm a chain of powers, means, roots and products.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
cat > "$folder/show.py" <<'PYTHON'
import statistics
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
NORMS = {
    "layer norm": lambda x, gain: F.layer_norm(x, gain.shape, gain, torch.zeros_like(gain), 1e-4),
    "RMS norm": lambda x, gain: F.rms_norm(x, gain.shape, gain, 1e-4),
}


def seconds(norm, shape, repeats):
    """Of the processor, forward and backward."""
    x, gain = torch.randn(shape, requires_grad=True), torch.ones(shape[-1], requires_grad=True)
    for k in range(repeats + 5):
        if k == 5:
            began = time.process_time()
        norm(x, gain).backward(torch.ones(shape))
    return (time.process_time() - began) / repeats


ratios = []
for shape, repeats in {(16, 64): 300, (512, 64): 150, (1024, 1024): 5}.items():
    turns = [{name: seconds(norm, shape, repeats) for name, norm in NORMS.items()} for _ in range(7)]
    ratios.append(statistics.median(turn["RMS norm"] / turn["layer norm"] for turn in turns))
    print(f"torch {torch.__version__.split('+')[0]}, {shape}: RMS norm takes {ratios[-1]:.1f} times as long as layer norm")
raise SystemExit(min(ratios) < 1.5)
PYTHON
if ! "$folder/venv/bin/python" -W ignore "$folder/show.py"; then
  echo "this has changed" >&2
  exit 1
fi
