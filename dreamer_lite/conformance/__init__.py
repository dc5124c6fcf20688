"""Does an implementation compute the official numbers? `conformance(functions)` says so, piece by piece, and why not.

functions: a dictionary from the names of pieces to callables, or an `Adapter`. What is left out is "not there".
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
import textwrap

from ..course.errors import short
from ..course.judge import does_nothing
from ..errors import Refused
from .adapter import Adapter, load
from .compare import Row, compare
from .networks import NETWORKS
from .pieces import PIECES, Piece
from .report import Report

__all__ = ["ALL", "Adapter", "Report", "Row", "conformance", "load", "template"]

ORDER = """symlog symexp two_hot_bins two_hot two_hot_mean two_hot_loss unimix entropy sample kl kl_losses kl_loss
    rms_norm gru recurrent prior posterior observe imagine vector_loss image_loss image_encoder image_decoder
    continue_target lambda_return replay_return step_weights return_scale advantages categorical bounded_normal
    actor_loss critic_loss replay_critic_loss laprop slow_critic initialise agent""".split()
ALL: dict[str, Piece] = dict(sorted(((p.name, p) for p in (*PIECES, *NETWORKS)), key=lambda pair: ORDER.index(pair[0])))


def conformance(functions: Adapter | Mapping[str, Callable], arrays: str = "numpy", file: Path | None = None) -> Report:
    """Compare each function with the official arrays. arrays: what they take, "numpy", "torch" or "jax".

    file: the adapter's file, whose lines are then named in errors. Raises Refused if there is nothing to compare.
    """
    adapter = functions if isinstance(functions, Adapter) else Adapter(functions, arrays)
    given = [name for name, value in adapter.functions.items() if callable(value)]
    hints = [hint for name in given if "did you mean" in (hint := unknown(name, adapter.functions))]
    hints += [f"NOTES: {hint}" for name in adapter.notes if (hint := unknown(name))]
    if all(does_nothing(adapter.functions.get(name)) for name in ALL):
        told = f" ({', '.join(hints)})" if hints else ""
        raise Refused(f"{adapter.name} has no function for any piece{told}; the pieces are {', '.join(ALL)}")
    rows = []
    for name, piece in ALL.items():
        function = adapter.functions.get(name)
        if does_nothing(function):
            rows.append(Row(name, "not there", str(adapter.notes.get(name, ""))))
        elif not callable(function):
            rows.append(Row(name, "raised", f"{name} is {short(function)}, where a function is expected"))
        else:
            row = compare(piece, function, adapter.arrays, file)
            rows.append(replace(row, words=str(adapter.notes.get(name, ""))) if row.state == "equal" else row)
    return Report(adapter.name, rows, [*adapter.hints, *hints])


def unknown(name: str, taken: Iterable[str] = ()) -> str:
    """The hint for a name that isn't a piece's, with the most similar piece that isn't taken; "" for a piece's name."""
    close = get_close_matches(str(name), ALL.keys() - set(taken), 1, 0.83)
    return "" if name in ALL else f"no piece is called {name}" + "".join(f"; did you mean {one}?" for one in close)


HEAD = '''"""An adapter: functions of your implementation under the names of the pieces of DreamerV3.

Fill in what you have, delete the rest, then run: python -m dreamer_lite conformance THIS_FILE
A function may leave out its last arguments, if your implementation fixes them. Any array-like may be returned.
Gradients are compared for torch (keep the graph) and JAX (jax.vjp must work), not for numpy. Weights come by their
official names: dense kernels (inputs, outputs), block-diagonal ones (blocks, inputs, outputs), convolutions (height,
width, inputs, outputs); each "…norm_scale" is the gain of the RMS norm after the layer of that name.
"""

ARRAYS = "torch"  # what your functions take: "torch", "jax" or "numpy"
NOTES = {}  # why a piece is left out, or what to know of it: {"recurrent": "a dense GRU"}
'''


def template() -> str:
    """An adapter to fill in."""
    stubs = [
        f"\n\ndef {piece.signature}:\n"
        f'    """{wrapped(piece.takes)}\n\n    Returns {wrapped(piece.gives)}.\n    {piece.source}.\n    """\n    ...\n'
        for piece in ALL.values()
    ]
    return HEAD + "".join(stubs)


def wrapped(text: str) -> str:
    return "\n    ".join(textwrap.wrap(text, 100))
