#!/usr/bin/env bash
# A sum over mirrored pairs, p·(-b) + p·b, is exactly 0 in JAX op by op, and not under jax.jit on a CPU: XLA fuses one
# product of each pair with the sum, so that one is rounded and the other isn't. Neither optimization_barrier nor
# reduce_precision keeps them apart; without FMA instructions the sum is 0 again. It affects anyone who pairs two-hot bins
# so that an untrained head predicts exactly 0, as DreamerV3 does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2
cat > "$folder/show.py" <<'PYTHON'
import jax
import jax.numpy as jnp

half = jnp.expm1(jnp.linspace(0.0, 20.0, 128)[1:])  # the positive ones of 255 bins; the others are their mirror image


def mean(logits, apart=lambda pair: pair):
    p = jax.nn.softmax(logits)
    below, above = apart((p[:127][::-1] * -half, p[128:] * half))
    return (below + above).sum()


def barred(logits):
    return mean(logits, jax.lax.optimization_barrier)


def cut(logits):
    return mean(logits, lambda pair: [jax.lax.reduce_precision(part, 8, 23) for part in pair])


zeros = jnp.zeros(255)
print(f"op by op: {mean(zeros):.1f}")
for name, function in {"jit": mean, "jit, optimization_barrier": barred, "jit, reduce_precision": cut}.items():
    print(f"{name}: {jax.jit(function)(zeros):.1f}")
PYTHON
export JAX_PLATFORMS=cpu
{
  "$folder/venv/bin/python" -c 'import jax; print("jax", jax.__version__)'
  "$folder/venv/bin/python" "$folder/show.py"
  echo "without FMA:"
  XLA_FLAGS=--xla_cpu_max_isa=AVX "$folder/venv/bin/python" "$folder/show.py"
} | tee "$folder/seen"
cat > "$folder/expected" <<'SEEN'
jax 0.10.2
op by op: 0.0
jit: -0.2
jit, optimization_barrier: -0.2
jit, reduce_precision: -0.2
without FMA:
op by op: 0.0
jit: 0.0
jit, optimization_barrier: 0.0
jit, reduce_precision: 0.0
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
