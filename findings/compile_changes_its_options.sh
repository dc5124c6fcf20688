#!/usr/bin/env bash
# torch.compile takes guard_filter_fn out of the dict of options that it is given. So a second function compiled with the same
# dict has its guards again, without a word: here it sees that a global number has changed, and the first, as asked, doesn't.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
cat > "$folder/show.py" <<'PYTHON'
import torch

options = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe, "fallback_random": True}
scale = 2.0


def first(x):
    return scale * x


def second(x):
    return scale * x


print(f"torch {torch.__version__.split('+')[0]}, before: {', '.join(options)}")
for function in (first, second):
    compiled, seen = torch.compile(function, options=options), []
    for scale in (2.0, 3.0):
        seen.append(compiled(torch.ones(())).item())
    print(f"{function.__name__}: scales 2 and 3 give {seen[0]:g} and {seen[1]:g}; left: {', '.join(options)}")
PYTHON
TORCHINDUCTOR_CACHE_DIR="$folder/kept" "$folder/venv/bin/python" -W ignore "$folder/show.py" | tee "$folder/seen"
cat > "$folder/expected" <<'SEEN'
torch 2.13.0, before: guard_filter_fn, fallback_random
first: scales 2 and 3 give 2 and 2; left: fallback_random
second: scales 2 and 3 give 2 and 3; left: fallback_random
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
