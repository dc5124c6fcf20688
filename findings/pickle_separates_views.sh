#!/usr/bin/env bash
# Tensors that share their memory, such as weights that are views of one flat vector, still share it after copy.deepcopy and after
# torch.save and torch.load. Through plain pickle, as multiprocessing and many job queues use it, they don't: whoever updates the
# flat vector then changes no weight, and nothing is raised. And each view carries the whole vector.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
cat > "$folder/show.py" <<'PYTHON'
import copy
import io
import pickle

import torch


def through_a_file(pair):
    file = io.BytesIO()
    torch.save(pair, file)
    file.seek(0)
    return torch.load(file)


def through_pickle(pair):
    return pickle.loads(pickle.dumps(pair))


print(f"torch {torch.__version__.split('+')[0]}")
for way in (copy.deepcopy, through_a_file, through_pickle):
    flat = torch.zeros(100_000)
    flat, weight = way([flat, flat[:3]])
    flat.fill_(1)
    print(f"{way.__name__}: the flat vector is set to 1, the weight is {weight.tolist()}")
for name, part in {"view": flat[:3], "copy": flat[:3].clone()}.items():
    print(f"pickled, a {name} of three numbers takes {'more' if len(pickle.dumps(part)) > 100_000 else 'less'} than 100 kB")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/show.py" | tee "$folder/seen"
cat > "$folder/expected" <<'SEEN'
torch 2.13.0
deepcopy: the flat vector is set to 1, the weight is [1.0, 1.0, 1.0]
through_a_file: the flat vector is set to 1, the weight is [1.0, 1.0, 1.0]
through_pickle: the flat vector is set to 1, the weight is [0.0, 0.0, 0.0]
pickled, a view of three numbers takes more than 100 kB
pickled, a copy of three numbers takes less than 100 kB
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
