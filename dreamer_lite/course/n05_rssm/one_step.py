"""Notebook 05: one step of the RSSM as a drawing, awake beside dreaming, with the code's names on the arrows."""

from ..agent_map import LINE, PLAIN
from ..explore import DREAM, POSTERIOR, REALITY

ALT = (
    "One step, awake and dreaming. In both, rssm.recurrent makes the new memory h' from h, z and the action, and "
    "rssm.prior reads from "
    "h' what the dice should show. Awake, rssm.posterior reads from h' and the tokens of x what the dice do show, and "
    "z' is a sample of "
    "that; the difference between the two is surprise. Dreaming, there is no x, and z' is a sample of the prior."
)
CODE = 'font-size="13" font-family="monospace"'


def one_step() -> str:
    """The drawing as SVG."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1030 370" role="img" font-family="sans-serif" '
        'font-size="15">',
        f"<title>{ALT}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse">'
        f'<path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>',
        '<rect width="1030" height="370" fill="white"/>',
        f'<line x1="545" y1="20" x2="545" y2="350" stroke="{LINE}" stroke-dasharray="3 5"/>',
        *memory_and_prior(20, "awake: one step of rssm.observe"),
        *box(290, 182, 110, "posterior", 36, POSTERIOR),
        arrow(196, 152, 288, 194),
        arrow(345, 98, 345, 180, 'marker-start="url(#tip)"'),
        text(353, 145, "surprise"),
        *box(20, 292, 40, "x", 36, REALITY),
        *box(160, 292, 80, "tokens"),
        arrow(60, 310, 158, 310),
        text(109, 302, "encoder", f'text-anchor="middle" {CODE}'),
        arrow(240, 302, 310, 220),
        text(300, 252, "rssm.posterior(h, tokens)", CODE),
        *drawn(400, 505, 200),
        *memory_and_prior(565, "dreaming: rssm.imagine_step"),
        *drawn(945, 995, 80),
    ]
    return "\n".join(parts) + "\n</svg>\n"


def memory_and_prior(left: float, title: str) -> list[str]:
    """What both kinds of steps share: h, z and a become h', and h' makes a prior."""
    parts = [text(left, 34, title, 'font-weight="bold"')]
    for y, name in ((80, "h"), (140, "z"), (200, "a")):
        parts += [*box(left, y - 18, 40, name), arrow(left + 40, y, left + 124, 140 + (y - 140) // 5)]
    parts += [
        *box(left + 126, 116, 50, "h'", 48),
        text(left, 246, "rssm.recurrent(state, action)", CODE),
        *box(left + 270, 62, 110, "prior", 36, DREAM),
        arrow(left + 176, 128, left + 268, 84),
    ]
    return [*parts, text(left + 325, 54, "rssm.prior(h)", f'text-anchor="middle" {CODE}')]


def drawn(left: float, right: float, y: float) -> list[str]:
    """The path from a box, whose right side is at `left`, down to z'."""
    return [
        f'<path d="M{left} {y} L{right} {y} L{right} 290" fill="none" stroke="{LINE}" marker-end="url(#tip)"/>',
        *box(right - 20, 292, 40, "z'"),
        text(right - 26, 315, "sample(unimix(logits))", f'text-anchor="end" {CODE}'),
    ]


def box(x: float, y: float, width: float, name: str, height: float = 36, colour: str = PLAIN) -> list[str]:
    return [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{colour}" stroke="{LINE}"/>',
        f'<text x="{x + width / 2}" y="{y + height / 2 + 5}" text-anchor="middle" '
        f'fill="{"black" if colour == PLAIN else "white"}">{name}</text>',
    ]


def arrow(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{LINE}" marker-end="url(#tip)" {more}/>'


def text(x: float, y: float, words: str, how: str = "") -> str:
    return f'<text x="{x}" y="{y}" {how}>{words}</text>'
