#!/usr/bin/env bash
# A model whose gradients are views of one flat buffer, so that norms and optimizer steps take one call, takes torch.compile
# several times as long to trace, although a forward pass uses no gradient. The same memory, detached from the buffer, costs nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
cat > "$folder/show.py" <<'PYTHON'
import statistics
import time

import torch

torch.set_num_threads(1)


def seconds(kind):
    torch._dynamo.reset()
    net = torch.nn.Sequential(*[torch.nn.Linear(8, 8) for _ in range(50)])
    params = list(net.parameters())
    flat = torch.zeros(sum(p.numel() for p in params))
    for p, part in zip(params, flat.split([p.numel() for p in params])):
        view = part.view_as(p)
        p.grad = {"views": view, "detached views": view.detach(), "tensors": torch.zeros_like(p)}[kind]
    began = time.process_time()
    torch.compile(net, backend="eager", fullgraph=True)(torch.randn(4, 8))
    return time.process_time() - began


kinds = "tensors", "detached views", "views"
seconds("tensors")  # imports
took = {kind: statistics.median(seconds(kind) for _ in range(3)) for kind in kinds}
for kind, time_taken in took.items():
    times = time_taken / took["tensors"]
    print(f"torch {torch.__version__.split('+')[0]}, gradients are {kind}: {times:.1f} times the seconds to trace")
raise SystemExit(not (took["views"] > 2.5 * took["tensors"] and took["detached views"] < 2 * took["tensors"]))
PYTHON
if ! "$folder/venv/bin/python" -W ignore "$folder/show.py"; then
  echo "this has changed" >&2
  exit 1
fi
