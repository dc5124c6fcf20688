"""All exercises, by notebook and by name. Each notebook's folder holds its own, in exercises.py: cases, known mistakes, hints."""

from importlib import import_module
from pathlib import Path

FOLDERS = sorted(path.parent.name for path in Path(__file__).parent.glob("[na][0-9]*/exercises.py"))  # n05_rssm …
NOTEBOOKS = {name[1:3]: import_module(f".{name}.exercises", __package__) for name in FOLDERS}
EXERCISES = {exercise.name: exercise for notebook in NOTEBOOKS.values() for exercise in notebook.EXERCISES}
