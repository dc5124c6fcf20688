"""The cells of a notebook that trains, made quick: for tests that only need them to run."""

import ast
import re


def quick(source):
    """A cell that trains for a moment only, and expects nothing of it."""
    source = re.sub(r"episodes=\d+", "episodes=2", re.sub(r"lab\.train\(steps=\d+", "lab.train(steps=50", source))
    return re.sub(r"^assert .*", "", re.sub(r"steps=\d{3,}", "steps=260", source), flags=re.M)


def unprepared(source):
    """Without the process of notebook 10 that compiles for minutes beside it: nbval starts it, and once is enough."""
    return re.sub(r"^preparation = .*", "", source, flags=re.M).replace(
        "compile=preparation.use(parts)", "compile=False"
    )


def needed(cells, wanted):
    """The code cells that contain one of these texts, and those before them that bind a name they use."""
    kept, names = [], set()
    for cell in reversed([cell for cell in cells if cell.cell_type == "code"]):
        tree = ast.parse(cell.source)
        if any(text in cell.source for text in wanted) or names & set(bound(tree)):
            kept.insert(0, cell)
            names -= set(bound(tree))
            names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return kept


def bound(tree):
    """The names that a cell binds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).split(".")[0]
