#!/usr/bin/env bash
# torch.compile keeps what it made of a function with gradients for the next process, unless the function enters torch.autocast
# itself: then its cache is bypassed each time, without a word. Entered around the call, the same computation is kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
cat > "$folder/show.py" <<'PYTHON'
import sys

import torch
from torch._dynamo.utils import counters

layer, x = torch.nn.Linear(8, 8), torch.randn(4, 8)


def plain(x):
    return layer(x).float().sum()


def enters(x):
    with torch.autocast("cpu", torch.bfloat16):
        return layer(x).float().sum()


if sys.argv[1] == "inside":
    out = torch.compile(enters)(x)
else:
    with torch.autocast("cpu", torch.bfloat16):
        out = torch.compile(plain)(x)
out.backward()
found = [event for event in ("hit", "miss", "bypass") if counters["aot_autograd"][f"autograd_cache_{event}"]]
print(f"torch {torch.__version__.split('+')[0]}, autocast {sys.argv[1]}, process {sys.argv[2]}: {', '.join(found)}")
PYTHON
for where in around inside; do
  for process in 1 2; do
    TORCHINDUCTOR_CACHE_DIR="$folder/$where" "$folder/venv/bin/python" -W ignore "$folder/show.py" "$where" "$process"
  done
done | tee "$folder/seen"
cat > "$folder/expected" <<'SEEN'
torch 2.13.0, autocast around, process 1: miss
torch 2.13.0, autocast around, process 2: hit
torch 2.13.0, autocast inside, process 1: bypass
torch 2.13.0, autocast inside, process 2: bypass
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
