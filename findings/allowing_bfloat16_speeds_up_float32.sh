#!/usr/bin/env bash
# PyTorch computes float32 matrix products with MKL. The one setting that hands them to oneDNN says that bfloat16 is allowed. Yet
# the results stay float32 where the processor has no AMX, and on AMD processors since Zen 5 large products take less than half
# the time. Small ones take several times as long.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
cat > "$folder/show.py" <<'PYTHON'
import time

import torch

torch.set_num_threads(1)
setting, processor = torch.backends.mkldnn.matmul, torch.cpu.get_capabilities()
amx = bool(processor.get("amx_tile"))
zen_5 = processor.get("cpu_name", "").startswith("AMD") and bool(processor.get("avx512_vp2intersect"))


def microseconds(a, b, repeats):
    times = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(repeats):
            a @ b
        times.append((time.perf_counter() - began) / repeats)
    return min(times) * 1e6


print(f"torch {torch.__version__.split('+')[0]}, {processor.get('cpu_name')}; AMX: {amx}")
large, small = (torch.rand(1024, 512), torch.rand(512, 512)), (torch.rand(8, 64), torch.rand(64, 64))
true = large[0].double() @ large[1].double()
took, error = {}, {}
for allowed in ("none", "bf16"):
    setting.fp32_precision = allowed
    error[allowed] = float(((large[0] @ large[1] - true) / true).abs().max())
    took[allowed] = microseconds(*large, 10), microseconds(*small, 1000)
    print(
        f"fp32_precision {allowed!r}: 1024×512 by 512×512 {took[allowed][0]:,.0f} µs, relative error {error[allowed]:.0e}; "
        f"8×64 by 64×64 {took[allowed][1]:.1f} µs"
    )
exact = error["bf16"] < 1e-5
gains = took["none"][0] > 1.5 * took["bf16"][0]
loses = took["bf16"][1] > 2 * took["none"][1]
if not zen_5:
    print("not an AMD processor since Zen 5: only the error is looked at")
raise SystemExit(not (exact == (not amx) and (not zen_5 or gains and loses)))
PYTHON
if ! "$folder/venv/bin/python" -W ignore "$folder/show.py"; then
  echo "this has changed" >&2
  exit 1
fi
