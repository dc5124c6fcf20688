"""The tools of the notebooks: exercises that answer back, figures and widgets.

Only `conformance` imports anything from here: the judge, and what it knows of mistakes.
"""

__all__ = ["check", "hint", "keep", "kept", "progress", "self_check", "setup", "solution"]


def __getattr__(name: str) -> object:
    """The notebooks' functions, at their first use: they need IPython, which the judge doesn't."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import notebook

    globals().update({word: getattr(notebook, word) for word in __all__})
    return globals()[name]
