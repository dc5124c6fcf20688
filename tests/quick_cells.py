"""The cells of a notebook that trains, made quick: for tests that only need them to run."""

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
