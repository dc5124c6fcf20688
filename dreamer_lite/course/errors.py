"""Explains what a reader's function raised: where, with which shapes, and what usually helps."""

import ast
import inspect
import linecache
import re
import traceback
from types import FrameType
from typing import Any

from torch import Tensor

from .exercise import kind

SHAPES = (
    "PyTorch aligns shapes from the last axis; give the shorter tensor the axes it lacks, as `x[:, None]` does, or "
    "drop an extra one."
)
ERRORS = {  # part of Python's or PyTorch's message: what usually helps
    "with a bool tensor is not supported": (
        'Turn True and False into numbers first, with `.float()`; for "not" there is `~`.'
    ),
    "Boolean value of Tensor": (
        "Python's `if`, `not`, `and`, `max` can't decide for a whole tensor; `torch.where`, `~`, `&`, `.clamp` can."
    ),
    "a leaf Variable that requires grad": (
        "It writes into its input, which other code still needs. Make a new tensor, or work on a `.clone()`."
    ),
    "a view of a leaf Variable": (
        "It writes into its input, which other code still needs. Make a new tensor, or work on a `.clone()`."
    ),
    "can be converted to Python scalars": (
        "Python's own functions (`math`, `float`, `int`) take single numbers; torch's take whole tensors."
    ),
    'required positional arguments: "': "This torch function needs one more argument, often the axis.",
    "required positional argument": (
        "The check calls it with the arguments that the exercise has, no more and no fewer."
    ),
    "positional arguments but": "The check calls it with the arguments that the exercise has, no more and no fewer.",
    "unexpected keyword argument": "The arguments keep the names that the exercise gives them.",
    "invalid combination of arguments": "The arguments have the wrong types for this function, or the wrong order.",
    "only for scalar outputs": "backward needs one number: take the mean of each loss first.",
    "does not require grad": "Something was detached that the gradient must flow through.",
    "not broadcastable": SHAPES,
    "shape mismatch": SHAPES,
    "The expanded size of the tensor": SHAPES,
    "shapes cannot be multiplied": (
        "The input doesn't have the width that the network was built for. Is part of it missing, or an axis?"
    ),
    "normalized_shape": (
        "The input doesn't have the width that the network was built for. Is part of it missing, or an axis?"
    ),
    "Index tensor must have the same number of dimensions": (
        "The index needs as many axes as the tensor: `index[..., None]` adds one at the end."
    ),
    "same number of dimensions": (
        "Tensors to be joined must have the same number of axes; one of them lacks an axis, or has one too many."
    ),
    "Sizes of tensors must match": (
        "Tensors to be joined may differ only along the axis you name: is it `-1`, the last?"
    ),
    "is out of bounds for dimension": (
        "The index goes beyond the last entry of that axis. Is it meant for another axis, or is there one `+ 1` too "
        "many?"
    ),
    "Dimension out of range": "There is no such axis. Is one missing in the input, or counted from the wrong side?",
    "too many indices": "There are fewer axes than that. Is one missing?",
    "Expected size for first two dimensions": SHAPES,
    "one_hot is only applicable to index tensor": "`F.one_hot` wants class numbers, as `argmax` gives them.",
    "modified by an inplace operation": (
        "Something that the gradient needs was changed in place, by `*=`, `+=` or `x[…] =`. Make a new tensor instead: "
        "`x = x * …`."
    ),
    "is invalid for input of size": "The new shape must hold as many numbers as the old one. Which axes does it have?",
    "step must be greater than zero": "PyTorch can't slice backwards; `x.flip(1)` turns an axis round.",
    "Expected dtype int": "An index holds whole numbers, as `argmax` gives them; `.long()` makes them so.",
    "can't set attribute": "That can't be changed. A State is made anew: `State(h, z)`.",
    "'tuple' object has no attribute": "A plain tuple stands where a State is needed: `State(h, z)`.",
    "'State' object has no attribute": "A State has `.h`, `.z` and `.feature`, but no tensor methods.",
    "expected Tensor as element": "This needs a list of tensors, and yours holds something else.",
    "argument 'tensors'": "Only a list of tensors can be stacked. States are stacked part by part: all h, and all z.",
    "Target size": SHAPES,
    "(position 2) must be Tensor": (
        "One of torch's functions wants a tensor and got a plain number; `.clamp(min=…)` takes numbers."
    ),
    "not supported between instances": "These two can't be compared: is one of them a list, a tuple or None?",
    "both arguments to matmul need to be at least 1D": (
        "`@` multiplies tensors with axes; for single numbers there is `*`."
    ),
    "unsupported operand type": "Python can't combine these two; one of them is not what the line takes it for.",
    "cannot unpack": "The right side of the `=` doesn't have as many parts as the left side.",
    "not enough values to unpack": "The right side of the `=` has fewer parts than the left side.",
    "too many values to unpack": "The right side of the `=` has more parts than the left side.",
}
# Python's words: PyTorch puts the name of what is missing between double quotes, and that is often the axis.
CALLS = re.compile(r"missing \d+ required positional arguments?: '|positional arguments? but|unexpected keyword")
CALLED = "The call in that line doesn't give what the function takes: compare the two."
BY_TYPE = {
    "StopIteration": "Nothing was found, and `next` has no second argument to fall back on: `next(…, None)`.",
    "UnboundLocalError": "The name gets a value on some paths only: give it one before the loop or the `if`.",
    "KeyError": "There is no entry with that name.",
    "RecursionError": "It calls itself without end.",
    "NameError": "Is it spelt as in the cell above, and was that cell run?",
}


def raised(error: BaseException, version: Any = None) -> str:
    """What was raised, on which line of the reader's code, with which shapes there, and the usual cause."""
    text = (str(error).splitlines() or [""])[0].split(" Hint: ")[0][:200]
    frame, number = own_frame(error, version)
    where, there, line = "", "", ""
    if frame is not None and not isinstance(error, RecursionError):
        line = linecache.getline(frame.f_code.co_filename, number).strip()
        where = f" in line {number - frame.f_code.co_firstlineno + 1} of `{frame.f_code.co_name}`" if line else ""
        shapes = [f"`{name}` is {short_shape(value)}" for name, value in seen(line, frame)]
        there = f" There {', '.join(shapes)}." if shapes else ""
    inside = frame is not None and f"{frame.f_code.co_name}() " not in text
    advice = (
        CALLED if inside and CALLS.search(text) else usual_cause(text, line) or BY_TYPE.get(type(error).__name__, "")
    )
    return f"It raised {type(error).__name__}{where}: {text}.{there}{' ' * bool(advice)}{advice}".replace("..", ".")


def usual_cause(text: str, line: str) -> str:
    """What usually helps against an error with this text, raised on or below this line of the reader's code; empty
    if nothing is known."""
    if sizes := re.search(r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)", text):
        one, other = sorted(map(int, sizes.groups()))
        if one == 0:
            return (
                "One of the two is empty: a slice took nothing. Which axis does it cut, and are its bounds fixed "
                "numbers?"
            )
        if other == one + 1 and one > 1 and "[" in line:
            return "One of the two has one entry more: where do the slices begin and end?"
        return f"{SHAPES} Or is one of the sizes, {one} or {other}, not what you take it for?"
    if "index -" in text and "is out of bounds" in text:
        return (
            "The index is below 0: a number lies before the first entry, or 1 is subtracted once too often. Clip it "
            "first."
        )
    if "Sizes of tensors must match" in text and "cat" not in line:
        return (
            "Inside the call, two tensors have different numbers of rows or steps: which axis is the batch, and "
            "which is time?"
        )
    return next((advice for part, advice in ERRORS.items() if part in text), "")


def own_frame(error: BaseException, version: Any) -> tuple[FrameType | None, int]:
    """The innermost place in the reader's own code, not in the package or in PyTorch."""
    file = (
        getattr(getattr(inspect.unwrap(version), "__code__", None), "co_filename", None) if callable(version) else None
    )
    found: tuple[FrameType | None, int] = (None, 0)
    for frame, number in traceback.walk_tb(
        error.__traceback__
    ):  # not `inspect`, which takes seconds for a thousand frames
        name = frame.f_code.co_filename
        if name == file or "ipykernel" in name or name.startswith("<ipython"):
            found = frame, number
    return found


def seen(line: str, frame: FrameType) -> list[tuple[str, Any]]:
    """The tensors that a line names, such as `x` or `batch.obs`, with their values there."""
    try:
        tree = ast.parse(
            line.removesuffix(":") if not line.startswith(("for ", "if ", "while ", "with ")) else line + " pass"
        )
    except SyntaxError:
        return []
    names = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load)
    ]
    found = {}
    for node in sorted(names, key=lambda node: (node.lineno, node.col_offset)):
        value = held(node, frame)
        if isinstance(value, Tensor):
            found[ast.unparse(node)] = value
    return list(found.items())[:6]


def held(node: ast.AST, frame: FrameType) -> Any:
    """The value of a name or of a plain attribute of one; None for anything else."""
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id)
    if isinstance(node, ast.Attribute):
        return (
            getattr(held(node.value, frame), node.attr, None)
            if isinstance(held(node.value, frame), (tuple, Tensor))
            else None
        )
    return None


def short_shape(value: Tensor) -> str:
    return str(tuple(value.shape)) if value.ndim else "one number"


def short(value: Any) -> str:
    """A value in a few words: small tensors in full, large ones by their shape."""
    if isinstance(value, Tensor):
        if value.numel() <= 16:
            return digits(value.detach().tolist())
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        small = sum(part.numel() if isinstance(part, Tensor) else 99 for part in value) <= 16
        inside = ", ".join(f"{name} {short(part)}" for name, part in zip(value._fields, value)) if small else ""
        return f"{kind(value)}{' with ' * bool(inside)}{inside}"
    text = repr(value)
    return text if len(text) <= 200 and "\n" not in text and " at 0x" not in text else kind(value)


def cap(text: str) -> str:
    """Capitalised, unless the first word is one of the notebook's names."""
    return text if text.split(",")[0].split()[0] in ("h", "z", "dyn", "rep") else text[:1].upper() + text[1:]


def digits(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(digits, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
