"""The tools of the notebooks: exercises that answer back, figures and widgets.

Nothing else in the package imports this.
"""

from .notebook import check, hint, keep, kept, progress, self_check, setup, solution

__all__ = ["check", "hint", "keep", "kept", "progress", "self_check", "setup", "solution"]
