"""All exercises, by notebook and by name.

Each notebook's folder holds its own, in exercises.py: cases, known mistakes, hints.
"""

from importlib import import_module
from pathlib import Path

FOLDERS = [  # n05_rssm …, then the appendices: a3_your_world …
    path.parent.name for kind in "na" for path in sorted(Path(__file__).parent.glob(f"{kind}[0-9]*/exercises.py"))
]
NOTEBOOKS = {name.removeprefix("n")[:2].upper(): import_module(f".{name}.exercises", __package__) for name in FOLDERS}
EXERCISES = {exercise.name: exercise for notebook in NOTEBOOKS.values() for exercise in notebook.EXERCISES}
